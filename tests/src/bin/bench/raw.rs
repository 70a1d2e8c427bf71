//! What everything is compared with: `C_Decrypt` of 32 bytes in this process, on one thread that does nothing else, with
//! a token key made as the server makes its own.

use std::time::{Duration, Instant};

use cryptoki::{
    context::Pkcs11,
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, ObjectHandle},
    session::Session,
};
use hsm::{Hsm, Nonce, ObjectId, ProfileName, Secret, Settings};
use keyward_tests::softhsm_module;
use secrecy::SecretString;
use tokio::runtime::Runtime;

use super::{Result, load::Pace, machine::Usage};

/// How fast the token was.
#[derive(Clone, Copy)]
pub struct Rate {
    /// Operations per second.
    pub ops: f64,
    /// CPU time of one, in microseconds.
    pub cpu_us: f64,
}

/// A token of its own, with one key.
pub struct Raw {
    session: Session,
    key: ObjectHandle,
    ciphertext: Vec<u8>,
    /// It keeps this process logged in.
    _hsm: Hsm,
}

impl Raw {
    /// Makes the token.
    pub fn prepare(runtime: &Runtime) -> Result<Self> {
        let module = softhsm_module();
        let pin = SecretString::from("48151623");
        hsm::initialise_token(&module, LABEL, &pin, &pin)?;
        let settings = Settings {
            module: module.clone(),
            token_label: LABEL.to_owned(),
            pin,
            profile: ProfileName::Softhsm,
            queue: 1,
            call_timeout: Duration::from_secs(5),
            stuck_limit: Duration::from_secs(30),
            uptime: hsm::Uptime::default(),
        };
        let hsm = Hsm::open(settings)?;
        let ciphertext = runtime.block_on(async {
            hsm.create_key(KEY, LABEL).await?;
            hsm.encrypt(KEY, NONCE, AAD.to_vec(), Secret::new(vec![7; 32])).await
        })?;

        let pkcs11 = Pkcs11::new(module)?;
        let ours = |slot: &_| pkcs11.get_token_info(*slot).is_ok_and(|token| token.label() == LABEL);
        let slot = pkcs11.get_slots_with_token()?.into_iter().find(ours).ok_or("the token has no slot")?;
        let session = pkcs11.open_ro_session(slot)?;
        let found = session.find_objects(&[Attribute::Id(KEY.as_bytes().to_vec())])?;
        let key = *found.first().ok_or("the token does not show its key")?;
        Ok(Self { session, key, ciphertext, _hsm: hsm })
    }

    /// Decrypts for a while.
    pub fn measure(&self, pace: &Pace) -> Result<Rate> {
        let warm = Instant::now();
        while warm.elapsed() < pace.warm_up {
            self.decrypt()?;
        }
        let this = std::process::id();
        let (before, start, mut operations) = (Usage::now(this)?, Instant::now(), 0_u32);
        while start.elapsed() < pace.measured {
            self.decrypt()?;
            operations += 1;
        }
        let used = before.until_now(this)?;
        let operations = f64::from(operations);
        Ok(Rate { ops: operations / used.elapsed.as_secs_f64(), cpu_us: used.load.as_secs_f64() * 1e6 / operations })
    }

    fn decrypt(&self) -> Result<()> {
        let mut nonce = *NONCE.as_bytes();
        let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, AAD, 128.into())?);
        let plaintext = self.session.decrypt(&mechanism, self.key, &self.ciphertext)?;
        if plaintext == [7; 32] { Ok(()) } else { Err("the token decrypted to something else".into()) }
    }
}

const LABEL: &str = "keyward-bench-raw";
const KEY: ObjectId = ObjectId::new(*b"keyward-bench-00");
const NONCE: Nonce = Nonce::new([1; Nonce::LEN]);
/// As long as what the server authenticates with a data key and a context of two pairs.
const AAD: &[u8] = b"keyward/raw-decrypt/v1\0 an encryption context of a common length: department=radiology";
