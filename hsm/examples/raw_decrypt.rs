//! How close `Hsm` comes to the token: decrypts 32 bytes on one thread through `C_Decrypt` itself, then through `Hsm` with
//! concurrent callers, one by one and in batches, and prints one line of JSON (operations per second).
//!
//! `cargo run --release -p hsm --example raw_decrypt [SECONDS] [CALLERS]`. Makes a SoftHSM token of its own in a temporary
//! folder; the folder is removed at the end.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::Attribute;
use hsm::{Decrypt, Hsm, Nonce, ObjectId, ProfileName, Secret, Settings};
use secrecy::SecretString;
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<ExitCode> {
    let seconds = env::args().nth(1).map_or(Ok(3), |text| text.parse())?;
    let callers = env::args().nth(2).map_or(Ok(64), |text| text.parse())?;
    if env::var_os("SOFTHSM2_CONF").is_some() {
        measure(Duration::from_secs(seconds), callers)?;
        return Ok(ExitCode::SUCCESS);
    }

    // SoftHSM is told its folder by the environment, which a process cannot safely change for itself.
    let dir = env::temp_dir().join(format!("keyward-raw-decrypt-{}", std::process::id()));
    let config = hsm::softhsm::write_config(&dir)?;
    let status = Command::new(env::current_exe()?).args(env::args().skip(1)).env("SOFTHSM2_CONF", config).status()?;
    fs::remove_dir_all(dir)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(time: Duration, callers: usize) -> Result<()> {
    let module = hsm::softhsm::find_module().ok_or("SoftHSM is not installed")?;
    let pin = SecretString::from("1234567890");
    hsm::initialise_token(&module, LABEL, &pin, &pin)?;
    let settings = Settings {
        module: module.clone(),
        token_label: LABEL.to_owned(),
        pin,
        profile: ProfileName::Softhsm,
        queue: 2 * callers,
        call_timeout: Duration::from_secs(5),
        stuck_limit: Duration::from_secs(30),
        uptime: hsm::Uptime::default(),
    };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let hsm = Hsm::open(settings)?;
    let sealed = runtime.block_on(async {
        hsm.create_key(KEY, "raw-decrypt").await?;
        hsm.encrypt(KEY, NONCE, AAD.to_vec(), Secret::new(vec![7; 32])).await
    })?;

    let raw = raw(&module, &sealed, time)?;
    let single = runtime.block_on(concurrent(&hsm, &sealed, time, callers, 1))?;
    let batched = runtime.block_on(concurrent(&hsm, &sealed, time, callers, 16))?;
    println!(
        r#"{{"raw_ops_per_s":{raw:.0},"hsm_ops_per_s":{single:.0},"hsm_batch16_ops_per_s":{batched:.0},"callers":{callers},"ratio":{:.3}}}"#,
        single / raw
    );
    Ok(())
}

/// One thread that does nothing but decrypt. The process is logged in already.
fn raw(module: &Path, sealed: &[u8], time: Duration) -> Result<f64> {
    let pkcs11 = Pkcs11::new(module)?;
    let slots = pkcs11.get_slots_with_token()?;
    let slot = slots.into_iter().find(|slot| pkcs11.get_token_info(*slot).is_ok_and(|token| token.label() == LABEL));
    let session = pkcs11.open_rw_session(slot.ok_or("no slot")?)?;
    let found = session.find_objects(&[Attribute::Id(KEY.as_bytes().to_vec())])?;
    let key = *found.first().ok_or("no key")?;

    let start = Instant::now();
    let mut operations = 0_u32;
    while start.elapsed() < time {
        let mut nonce = *NONCE.as_bytes();
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, AAD, 128.into())?);
        session.decrypt(&mechanism, key, sealed)?;
        operations += 1;
    }
    Ok(f64::from(operations) / start.elapsed().as_secs_f64())
}

async fn concurrent(hsm: &Hsm, sealed: &[u8], time: Duration, callers: usize, batch: usize) -> Result<f64> {
    static OPERATIONS: AtomicU64 = AtomicU64::new(0);
    OPERATIONS.store(0, Ordering::Relaxed);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (hsm, sealed) = (hsm.clone(), sealed.to_vec());
        tasks.spawn(async move {
            while start.elapsed() < time {
                if batch == 1 {
                    hsm.decrypt(KEY, NONCE, AAD.to_vec(), sealed.clone()).await?;
                } else {
                    let item = || Decrypt { key: KEY, nonce: NONCE, aad: AAD.to_vec(), ciphertext: sealed.clone() };
                    let results = hsm.decrypt_batch((0..batch).map(|_| item()).collect()).await?;
                    results.into_iter().try_for_each(|result| result.map(drop))?;
                }
                OPERATIONS.fetch_add(batch as u64, Ordering::Relaxed);
            }
            Ok::<(), hsm::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let operations = u32::try_from(OPERATIONS.load(Ordering::Relaxed))?;
    Ok(f64::from(operations) / start.elapsed().as_secs_f64())
}

const LABEL: &str = "raw-decrypt";
const KEY: ObjectId = ObjectId::new(*b"raw-decrypt-key.");
const NONCE: Nonce = Nonce::new([1; Nonce::LEN]);
const AAD: &[u8] = b"keyward/raw-decrypt/v1\0 an encryption context of a common length: department=radiology";
