//! Data keys: generate, wrap, unwrap, rewrap, transfer, and random bytes; each alone and as a batch.

use std::{ops::RangeInclusive, sync::Arc};

use axum::response::Response;
use hsm::Secret;
use kms_client::{
    format::{
        context::{EncryptionContext, InvalidContext, MAX_CANONICAL_BYTES, MAX_PAIRS},
        wrapped_key::{InvalidWrappedKey, WrappedKey},
    },
    id::RecordId,
    wire::{
        batch::{Batch, BatchAnswer},
        bytes::{Base64, Plaintext},
        context::ContextPairs,
        data_key::{
            GenerateDataKey, GenerateRandom, GeneratedDataKey, LONGEST_PLAINTEXT, MOST_BYTES, RandomBytes,
            RewrapDataKey, RewrappedDataKey, TransferDataKey, UnwrapDataKey, UnwrappedDataKey, WrapDataKey,
            WrappedDataKey,
        },
        name::KeyName,
    },
};
use serde::{Deserialize, Deserializer, de};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    batch::{DataOperation, many, one},
    error::Failure,
    exchange::Exchange,
    names::key_ref,
};
use crate::{
    model::{Error, Refusal},
    service::{
        Call, GenerateItem, Generated, Outcomes, RewrapItem, Rewrapped, Service, TransferItem, Transferred, Understood,
        UnwrapItem, Unwrapped, WrapItem, Wrapped,
    },
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(generate))
        .routes(routes!(generate_batch))
        .routes(routes!(wrap))
        .routes(routes!(wrap_batch))
        .routes(routes!(unwrap))
        .routes(routes!(unwrap_batch))
        .routes(routes!(rewrap))
        .routes(routes!(rewrap_batch))
        .routes(routes!(transfer))
        .routes(routes!(transfer_batch))
        .routes(routes!(random))
        .routes(routes!(random_batch))
}

macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $path:literal, $request:ty => $answer:ty;
       $(#[$batch_doc:meta])* $batch:ident = $batch_id:literal, $batch_path:literal: $operation:ident;)+) => {$(
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, operation_id = $id, tag = "data keys", request_body = $request,
            responses((status = 200, description = "Done", body = $answer))
        )]
        async fn $name(exchange: Exchange) -> Result<Response, Failure> {
            one::<$operation>(exchange).await
        }

        $(#[$batch_doc])*
        #[utoipa::path(
            post, path = $batch_path, operation_id = $batch_id, tag = "data keys", request_body = Batch<$request>,
            responses((status = 200, description = "A result or a problem for each item, in their order", body = BatchAnswer<$answer>))
        )]
        async fn $batch(exchange: Exchange) -> Result<Response, Failure> {
            many::<$operation>(exchange).await
        }
    )+};
}

handlers! {
    /// Makes a data key and wraps it.
    generate = "generate", "/v1/data-keys/generate", GenerateDataKey => GeneratedDataKey;
    /// Makes and wraps up to 1,000 data keys.
    generate_batch = "generate_batch", "/v1/data-keys/generate/batch": Generate;
    /// Wraps a data key that the caller made.
    wrap = "wrap", "/v1/data-keys/wrap", WrapDataKey => WrappedDataKey;
    /// Wraps up to 1,000 data keys.
    wrap_batch = "wrap_batch", "/v1/data-keys/wrap/batch": Wrap;
    /// Unwraps a data key.
    unwrap = "unwrap", "/v1/data-keys/unwrap", UnwrapDataKey => UnwrappedDataKey;
    /// Unwraps up to 1,000 data keys.
    unwrap_batch = "unwrap_batch", "/v1/data-keys/unwrap/batch": Unwrap;
    /// Wraps a data key again with the primary version of its key.
    rewrap = "rewrap", "/v1/data-keys/rewrap", RewrapDataKey => RewrappedDataKey;
    /// Wraps up to 1,000 data keys again.
    rewrap_batch = "rewrap_batch", "/v1/data-keys/rewrap/batch": Rewrap;
    /// Wraps a data key again with another key, in another context, or both.
    transfer = "transfer", "/v1/data-keys/transfer", TransferDataKey => RewrappedDataKey;
    /// Transfers up to 1,000 data keys.
    transfer_batch = "transfer_batch", "/v1/data-keys/transfer/batch": Transfer;
    /// Random bytes of the HSM.
    random = "random", "/v1/random", GenerateRandom => RandomBytes;
    /// Up to 1,000 draws of random bytes.
    random_batch = "random_batch", "/v1/random/batch": Random;
}

struct Generate;
struct Wrap;
struct Unwrap;
struct Rewrap;
struct Transfer;
struct Random;

/// What a caller sent in place of a wrapped key: whatever is wrong with it gets one answer, so it is no matter of JSON.
struct Sent(Result<WrappedKey, InvalidWrappedKey>);

/// An [`UnwrapDataKey`] or [`RewrapDataKey`], read without a copy of the wrapped key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    wrapped: Sent,
    #[serde(default)]
    context: ContextPairs,
}

/// A [`TransferDataKey`], read in the same way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moving {
    wrapped: Sent,
    #[serde(default)]
    context: ContextPairs,
    target_key: Option<KeyName>,
    target_context: Option<ContextPairs>,
}

impl DataOperation for Generate {
    type Request = GenerateDataKey;
    type Item = GenerateItem;
    type Value = Generated;
    type Answer = GeneratedDataKey;

    fn item(request: GenerateDataKey) -> Result<GenerateItem, Error> {
        Ok(GenerateItem {
            key: key_ref(&request.key)?,
            bytes: length(request.bytes)?,
            plaintext: request.plaintext,
            context: context(request.context)?,
        })
    }

    async fn run(service: &Service, call: &Call, items: Vec<Understood<GenerateItem>>) -> Outcomes<Generated> {
        service.generate(call, items).await
    }

    fn view(Generated { wrapped, plaintext }: Generated, record: RecordId) -> GeneratedDataKey {
        GeneratedDataKey {
            key: wrapped.key_id(),
            version: wrapped.key_version(),
            data_key: wrapped.data_key_id(),
            wrapped: Base64::new(wrapped.to_bytes()),
            plaintext: plaintext.map(shown),
            record,
        }
    }
}

impl DataOperation for Wrap {
    type Request = WrapDataKey;
    type Item = WrapItem;
    type Value = Wrapped;
    type Answer = WrappedDataKey;

    fn item(request: WrapDataKey) -> Result<WrapItem, Error> {
        check_size(request.plaintext.len(), 1..=LONGEST_PLAINTEXT, "a plaintext")?;
        Ok(WrapItem {
            key: key_ref(&request.key)?,
            plaintext: Secret::new(std::mem::take(&mut *request.plaintext.into_bytes())),
            context: context(request.context)?,
        })
    }

    async fn run(service: &Service, call: &Call, items: Vec<Understood<WrapItem>>) -> Outcomes<Wrapped> {
        service.wrap(call, items).await
    }

    fn view(Wrapped(wrapped): Wrapped, record: RecordId) -> WrappedDataKey {
        WrappedDataKey {
            key: wrapped.key_id(),
            version: wrapped.key_version(),
            data_key: wrapped.data_key_id(),
            wrapped: Base64::new(wrapped.to_bytes()),
            record,
        }
    }
}

impl DataOperation for Unwrap {
    type Request = Opening;
    type Item = UnwrapItem;
    type Value = Unwrapped;
    type Answer = UnwrappedDataKey;

    fn item(request: Opening) -> Result<UnwrapItem, Error> {
        request.item()
    }

    async fn run(service: &Service, call: &Call, items: Vec<Understood<UnwrapItem>>) -> Outcomes<Unwrapped> {
        service.unwrap(call, items).await
    }

    fn view(Unwrapped { place, plaintext }: Unwrapped, record: RecordId) -> UnwrappedDataKey {
        UnwrappedDataKey {
            key: place.key,
            version: place.version,
            data_key: place.data_key,
            plaintext: shown(plaintext),
            record,
        }
    }
}

impl DataOperation for Rewrap {
    type Request = Opening;
    type Item = RewrapItem;
    type Value = Rewrapped;
    type Answer = RewrappedDataKey;

    fn item(request: Opening) -> Result<RewrapItem, Error> {
        request.item()
    }

    async fn run(service: &Service, call: &Call, items: Vec<Understood<RewrapItem>>) -> Outcomes<Rewrapped> {
        service.rewrap(call, items).await
    }

    fn view(Rewrapped { wrapped, previous_version }: Rewrapped, record: RecordId) -> RewrappedDataKey {
        RewrappedDataKey {
            key: wrapped.key_id(),
            version: wrapped.key_version(),
            data_key: wrapped.data_key_id(),
            wrapped: Base64::new(wrapped.to_bytes()),
            previous_version,
            record,
        }
    }
}

impl DataOperation for Transfer {
    type Request = Moving;
    type Item = TransferItem;
    type Value = Transferred;
    type Answer = RewrappedDataKey;

    fn item(request: Moving) -> Result<TransferItem, Error> {
        Ok(TransferItem {
            from: UnwrapItem { wrapped: request.wrapped.0, context: context(request.context)? },
            target_key: request.target_key.as_ref().map(key_ref).transpose()?,
            target_context: request.target_context.map(context).transpose()?,
        })
    }

    async fn run(service: &Service, call: &Call, items: Vec<Understood<TransferItem>>) -> Outcomes<Transferred> {
        service.transfer(call, items).await
    }

    fn view(Transferred { wrapped, previous }: Transferred, record: RecordId) -> RewrappedDataKey {
        Rewrap::view(Rewrapped { wrapped, previous_version: previous.version }, record)
    }
}

impl DataOperation for Random {
    type Request = GenerateRandom;
    type Item = usize;
    type Value = Secret;
    type Answer = RandomBytes;

    fn item(request: GenerateRandom) -> Result<usize, Error> {
        length(request.bytes)
    }

    async fn run(service: &Service, call: &Call, items: Vec<Understood<usize>>) -> Outcomes<Secret> {
        service.random(call, items).await
    }

    fn view(bytes: Secret, record: RecordId) -> RandomBytes {
        RandomBytes { bytes: shown(bytes), record }
    }
}

impl Opening {
    fn item(self) -> Result<UnwrapItem, Error> {
        Ok(UnwrapItem { wrapped: self.wrapped.0, context: context(self.context)? })
    }
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Sent;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a wrapped key in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Sent, E> {
                Ok(Sent(text.parse()))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The context that the pairs make; each limit has its own error.
pub(super) fn context(pairs: ContextPairs) -> Result<Arc<EncryptionContext>, Error> {
    let too_large = |code, detail| Error::Invalid { code, detail };
    EncryptionContext::try_from(pairs).map(Arc::new).map_err(|invalid| match invalid {
        InvalidContext::TooManyPairs => {
            too_large(Refusal::ContextPairs, format!("an encryption context has at most {MAX_PAIRS} pairs"))
        }
        InvalidContext::TooLong => {
            too_large(Refusal::ContextSize, format!("an encryption context has at most {MAX_CANONICAL_BYTES} bytes"))
        }
        InvalidContext::EmptyKey
        | InvalidContext::DuplicateKey
        | InvalidContext::NotAPair
        | InvalidContext::NotText => Error::invalid(invalid.to_string()),
    })
}

fn length(bytes: u32) -> Result<usize, Error> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    check_size(bytes, 1..=usize::try_from(MOST_BYTES).unwrap_or(usize::MAX), "what is generated at once")?;
    Ok(bytes)
}

fn check_size(size: usize, allowed: RangeInclusive<usize>, what: &str) -> Result<(), Error> {
    if allowed.contains(&size) {
        return Ok(());
    }
    let detail = format!("{what} has {} to {} bytes, not {size}", allowed.start(), allowed.end());
    Err(Error::Invalid { code: Refusal::PlaintextSize, detail })
}

fn shown(secret: Secret) -> Plaintext {
    Plaintext::new(secret.into_zeroizing())
}

#[cfg(test)]
mod tests {
    use kms_client::{
        format::wrapped_key::{Header, Suite},
        id::{DataKeyId, KeyId, KeyVersion},
    };
    use zeroize::Zeroizing;

    use super::*;
    use crate::http::native::body::parse;

    fn wrapped() -> WrappedKey {
        let ids = (KeyId::from_bytes([1; 16]), DataKeyId::from_bytes([2; 16]));
        let header = Header::new(Suite::Aes256Gcm, ids.0, KeyVersion::FIRST, ids.1, [3; 12]);
        WrappedKey::new(header, vec![4; 48]).unwrap()
    }

    fn pairs(count: usize, length: usize) -> ContextPairs {
        let pairs: serde_json::Map<_, _> = (0..count).map(|n| (format!("k{n}"), "v".repeat(length).into())).collect();
        serde_json::from_value(pairs.into()).unwrap()
    }

    #[test]
    fn what_the_client_sends_is_what_is_read() {
        let wrapped = wrapped();
        let sent = UnwrapDataKey { wrapped: Base64::new(wrapped.to_bytes()), context: pairs(1, 1) };
        let item = parse::<Opening>(&serde_json::to_vec(&sent).unwrap()).unwrap().item().unwrap();
        assert_eq!(item.wrapped, Ok(wrapped.clone()));
        assert_eq!(item.context.value("k0"), Some("v"));
        let sent = TransferDataKey {
            wrapped: Base64::new(wrapped.to_bytes()),
            context: ContextPairs::default(),
            target_key: Some("alias/other".parse().unwrap()),
            target_context: Some(pairs(2, 1)),
        };
        let item = Transfer::item(parse(&serde_json::to_vec(&sent).unwrap()).unwrap()).unwrap();
        assert_eq!(item.target_context.unwrap().len(), 2);
        assert!(item.target_key.is_some() && item.from.context.is_empty());
    }

    #[test]
    fn a_wrapped_key_of_any_wrong_form_is_for_the_use_case_to_refuse() {
        for bad in ["", "AAAA", "not base64", &"A".repeat(10_000)] {
            let request: Opening = parse(format!(r#"{{"wrapped":"{bad}"}}"#).as_bytes()).unwrap();
            assert!(request.item().unwrap().wrapped.is_err(), "{bad}");
        }
        assert_eq!(parse::<Opening>(br#"{"wrapped":5}"#).map(|_| ()).unwrap_err().code(), "invalid_request");
    }

    #[test]
    fn each_limit_has_its_own_error() {
        let wrap = |bytes: usize, context| {
            let plaintext = Plaintext::new(Zeroizing::new(vec![0; bytes]));
            let request = WrapDataKey { key: "alias/a".parse().unwrap(), plaintext, context };
            Wrap::item(request).map(|item| item.plaintext.len()).map_err(|error| error.code())
        };
        assert_eq!(wrap(1, pairs(32, 1)), Ok(1));
        assert_eq!(wrap(4096, pairs(0, 0)), Ok(4096));
        assert_eq!(wrap(0, pairs(0, 0)), Err("plaintext_size"));
        assert_eq!(wrap(4097, pairs(0, 0)), Err("plaintext_size"));
        assert_eq!(wrap(1, pairs(33, 1)), Err("context_pairs"));
        assert_eq!(wrap(1, pairs(2, 4096)), Err("context_size"));
        assert_eq!(Random::item(GenerateRandom { bytes: 1024 }).unwrap(), 1024);
        for bad in [0, 1025, u32::MAX] {
            assert_eq!(Random::item(GenerateRandom { bytes: bad }).unwrap_err().code(), "plaintext_size");
        }
    }
}
