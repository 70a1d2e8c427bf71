//! What the load consists of: requests as bytes, and what a good answer to each must hold.

use std::rc::Rc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kms_client::{
    client::Client,
    wire::{
        batch::{Batch, BatchAnswer},
        context::ContextPairs,
        data_key::{GenerateDataKey, GeneratedDataKey, UnwrapDataKey, UnwrappedDataKey},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Result,
    report::{self, Row},
    server::Server,
};

/// One request, and the words that its answer holds just so many times.
pub struct Call {
    /// The request as it is sent.
    pub request: Vec<u8>,
    words: String,
    times: usize,
}

/// The three kinds of load, each sent round and round.
pub struct Calls {
    /// Unwraps one data key.
    pub unwrap: Rc<[Call]>,
    /// Generates one data key and answers its plaintext.
    pub generate: Rc<[Call]>,
    /// Unwraps [`BATCH`] data keys.
    pub batch: Rc<[Call]>,
    client: Client,
    /// What each call of `unwrap` opens.
    plaintexts: Vec<Vec<u8>>,
    /// With which context each call of `generate` wraps.
    contexts: Vec<ContextPairs>,
}

impl Calls {
    /// Generates the data keys that will be unwrapped, spread over all keys, and shows once that each of them comes back.
    pub async fn prepare(server: &Server) -> Result<Self> {
        let client = server.client()?;
        let asks = (0..DATA_KEYS).zip(server.keys.iter().cycle()).map(|(number, key)| {
            let context = json!({ "department": "radiology", "object": format!("scan-{number:04}") });
            from::<GenerateDataKey>(json!({ "key": key, "context": context }))
        });
        let asks: Vec<_> = asks.collect::<Result<_>>()?;
        let mut plaintexts = Vec::new();
        let mut unwraps = Vec::new();
        let mut unwrap = Vec::new();
        for asks in asks.chunks(BATCH) {
            let batch = Batch { items: asks.to_vec() };
            for (ask, made) in asks.iter().zip(good(client.generate_data_keys(&batch).await?)?) {
                let plaintext = made.plaintext.ok_or("a data key came without its plaintext")?;
                let opening = UnwrapDataKey { wrapped: made.wrapped, context: ask.context.clone() };
                let words = format!("{ANY}{}\"", STANDARD.encode(plaintext.expose()));
                unwrap.push(Call::new("/v1/data-keys/unwrap", &opening, words, 1)?);
                plaintexts.push(plaintext.expose().to_vec());
                unwraps.push(opening);
            }
        }

        let mut batches = Vec::new();
        for (openings, plaintexts) in unwraps.chunks(BATCH).zip(plaintexts.chunks(BATCH)) {
            let batch = Batch { items: openings.to_vec() };
            for (opened, plaintext) in good(client.unwrap_data_keys(&batch).await?)?.iter().zip(plaintexts) {
                if opened.plaintext.expose() != plaintext {
                    return Err("a data key was unwrapped to something else".into());
                }
            }
            batches.push(Call::new("/v1/data-keys/unwrap/batch", &batch, ANY.to_owned(), BATCH)?);
        }

        let generate = asks.iter().map(|ask| Call::new("/v1/data-keys/generate", ask, ANY.to_owned(), 1));
        let generate = generate.collect::<Result<_>>()?;
        let contexts = asks.into_iter().map(|ask| ask.context).collect();
        Ok(Self { unwrap: unwrap.into(), generate, batch: batches.into(), client, plaintexts, contexts })
    }

    /// Reads an answer of each run as a client would: what was unwrapped is the data key, and what was generated unwraps
    /// to itself.
    pub async fn verify(&self, rows: &[Row]) -> Result<()> {
        for Row { name, figures, .. } in rows {
            let (place, answer) = &figures.sample;
            let right = match *name {
                report::UNWRAP => {
                    let answer: UnwrappedDataKey = serde_json::from_slice(answer)?;
                    answer.plaintext.expose() == self.plaintexts[*place]
                }
                report::GENERATE => {
                    let made: GeneratedDataKey = serde_json::from_slice(answer)?;
                    let ask = UnwrapDataKey { wrapped: made.wrapped, context: self.contexts[*place].clone() };
                    let opened = self.client.unwrap_data_key(&ask).await?.plaintext;
                    made.plaintext.is_some_and(|made| made.expose() == opened.expose())
                }
                _ => {
                    let answer: BatchAnswer<UnwrappedDataKey> = serde_json::from_slice(answer)?;
                    let plaintexts = self.plaintexts.iter().skip(place * BATCH).take(BATCH);
                    good(answer)?.iter().map(|opened| opened.plaintext.expose()).eq(plaintexts)
                }
            };
            if !right {
                return Err(format!("{name}: an answer under load was not the right one").into());
            }
        }
        Ok(())
    }
}

impl Call {
    fn new(path: &str, body: &impl Serialize, words: String, times: usize) -> Result<Self> {
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
        std::str::from_utf8(body).is_ok_and(|body| body.matches(&self.words).count() == self.times)
    }
}

/// A value of the API's, written as JSON.
pub fn from<T: DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

/// The items of a batch, if all of them are there and good.
fn good<T>(answer: BatchAnswer<T>) -> Result<Vec<T>> {
    if answer.items.len() != BATCH {
        return Err("a batch was answered in part".into());
    }
    let refused = |problem| format!("an item of a batch was refused: {problem:?}").into();
    answer.items.into_iter().map(|item| item.into_result().map_err(refused)).collect()
}

/// How many items a batch has.
pub const BATCH: usize = 100;
/// How many data keys are unwrapped in turn, so that the log does not see the same few again and again.
const DATA_KEYS: usize = 20 * BATCH;
/// How any plaintext begins in an answer.
const ANY: &str = "\"plaintext\":\"";
