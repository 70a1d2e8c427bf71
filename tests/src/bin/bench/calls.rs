//! What the load consists of: requests as bytes, and what a good answer to each must hold.

use std::rc::Rc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kms_client::{
    client::Client,
    wire::{
        batch::{Batch, BatchAnswer},
        data_key::{GenerateDataKey, GeneratedDataKey, UnwrapDataKey, UnwrappedDataKey},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Result, report::Row, server::Server};

/// One request, and the words that its answer holds just so many times.
pub struct Call {
    /// The request as it is sent.
    pub request: Vec<u8>,
    words: Vec<u8>,
    times: usize,
}

/// The three kinds of load.
pub struct Calls {
    /// Unwraps one data key.
    pub unwrap: Rc<[Call]>,
    /// Generates one data key and answers its plaintext.
    pub generate: Rc<[Call]>,
    /// Unwraps many data keys.
    pub batch: Rc<[Call]>,
    client: Client,
    /// What the first call of `unwrap` opens.
    plaintext: Vec<u8>,
}

impl Calls {
    /// Generates the data keys that will be unwrapped, spread over all keys, and shows once that all of them come back.
    pub async fn prepare(server: &Server) -> Result<Self> {
        let client = server.client()?;
        let mut unwraps = Vec::new();
        let mut plaintexts = Vec::new();
        let mut generate = Vec::new();
        for (number, key) in (0..BATCH).zip(server.keys.iter().cycle()) {
            let context = json!({ "department": "radiology", "object": format!("scan-{number:04}") });
            let ask: GenerateDataKey = from(json!({ "key": key, "context": context }))?;
            let made = client.generate_data_key(&ask).await?;
            unwraps.push(UnwrapDataKey { wrapped: made.wrapped, context: ask.context.clone() });
            plaintexts.push(made.plaintext.ok_or("a data key came without its plaintext")?.expose().to_vec());
            generate.push(Call::new("/v1/data-keys/generate", &ask, b"\"plaintext\":\"".to_vec(), 1)?);
        }

        let batch = Batch { items: unwraps };
        let answer: BatchAnswer<UnwrappedDataKey> = client.unwrap_data_keys(&batch).await?;
        if answer.items.len() != BATCH {
            return Err("a batch was answered in part".into());
        }
        for (item, plaintext) in answer.items.into_iter().zip(&plaintexts) {
            let opened =
                item.into_result().map_err(|problem| format!("an item of a batch was refused: {problem:?}"))?;
            if opened.plaintext.expose() != plaintext {
                return Err("a data key was unwrapped to something else".into());
            }
        }

        let unwrap = batch.items.iter().zip(&plaintexts).map(|(ask, plaintext)| {
            let words = format!("\"plaintext\":\"{}\"", STANDARD.encode(plaintext));
            Call::new("/v1/data-keys/unwrap", ask, words.into_bytes(), 1)
        });
        let unwrap = unwrap.collect::<Result<Rc<_>>>()?;
        let words = b"\"plaintext\":\"".to_vec();
        let batch = Rc::new([Call::new("/v1/data-keys/unwrap/batch", &batch, words, BATCH)?]);
        Ok(Self { unwrap, generate: generate.into(), batch, client, plaintext: plaintexts.swap_remove(0) })
    }

    /// Reads the first answers that were measured as a client would: what was unwrapped is the data key, and what was
    /// generated unwraps to itself.
    pub async fn verify(&self, rows: &[Row]) -> Result<()> {
        for Row { name, figures, .. } in rows {
            let good = match *name {
                "unwrap" => {
                    let answer: UnwrappedDataKey = serde_json::from_slice(&figures.first_answer)?;
                    answer.plaintext.expose() == self.plaintext
                }
                "generate" => {
                    let made: GeneratedDataKey = serde_json::from_slice(&figures.first_answer)?;
                    let context = from(json!({ "department": "radiology", "object": "scan-0000" }))?;
                    let ask = UnwrapDataKey { wrapped: made.wrapped, context };
                    let opened = self.client.unwrap_data_key(&ask).await?.plaintext;
                    made.plaintext.is_some_and(|made| made.expose() == opened.expose())
                }
                _ => {
                    let answer: BatchAnswer<UnwrappedDataKey> = serde_json::from_slice(&figures.first_answer)?;
                    answer.items.len() == BATCH && answer.items.into_iter().all(|item| item.into_result().is_ok())
                }
            };
            if !good {
                return Err(format!("{name}: an answer under load was not the right one").into());
            }
        }
        Ok(())
    }
}

impl Call {
    fn new(path: &str, body: &impl Serialize, words: Vec<u8>, times: usize) -> Result<Self> {
        let body = serde_json::to_string(body)?;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        Ok(Self { request: request.into_bytes(), words, times })
    }

    /// Whether this is the body of a good answer.
    pub fn is_answered_by(&self, body: &[u8]) -> bool {
        let mut times = 0;
        let mut rest = body;
        while let Some(place) = rest.windows(self.words.len()).position(|words| words == self.words) {
            times += 1;
            rest = &rest[place + self.words.len()..];
        }
        times == self.times
    }
}

/// A value of the API's, written as JSON.
pub fn from<T: DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

/// How many items a batch has, and how many data keys are unwrapped in turn.
pub const BATCH: usize = 100;
