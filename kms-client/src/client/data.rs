//! Operations on data keys, and random bytes.

use serde::{Serialize, de::DeserializeOwned};

use super::{Client, error::Result, transport::Repeat};
use crate::wire::{
    batch::{Batch, BatchAnswer},
    data_key::{
        GenerateDataKey, GenerateRandom, GeneratedDataKey, RandomBytes, RewrapDataKey, RewrappedDataKey,
        TransferDataKey, UnwrapDataKey, UnwrappedDataKey, WrapDataKey, WrappedDataKey,
    },
};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident, $batch:ident: $request:ty => $answer:ty, $path:expr;)+) => {
        impl Client {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the server refuses or cannot be reached.
            pub async fn $name(&self, request: &$request) -> Result<$answer> {
                self.data(&$path, request).await
            }

            #[doc = concat!("Many [`Self::", stringify!($name), "`] in one request, each with a result of its own.")]
            ///
            /// # Errors
            /// When the server refuses all of it, or cannot be reached.
            pub async fn $batch(&self, batch: &Batch<$request>) -> Result<BatchAnswer<$answer>> {
                self.data(&[$path.as_slice(), &["batch"]].concat(), batch).await
            }
        )+}
    };
}

operations! {
    /// Makes a data key and wraps it.
    generate_data_key, generate_data_keys: GenerateDataKey => GeneratedDataKey, ["data-keys", "generate"];
    /// Wraps a data key that the caller made.
    wrap_data_key, wrap_data_keys: WrapDataKey => WrappedDataKey, ["data-keys", "wrap"];
    /// Unwraps a data key.
    unwrap_data_key, unwrap_data_keys: UnwrapDataKey => UnwrappedDataKey, ["data-keys", "unwrap"];
    /// Wraps a data key again with the primary version of its key.
    rewrap_data_key, rewrap_data_keys: RewrapDataKey => RewrappedDataKey, ["data-keys", "rewrap"];
    /// Wraps a data key again with another key, in another context, or both.
    transfer_data_key, transfer_data_keys: TransferDataKey => RewrappedDataKey, ["data-keys", "transfer"];
    /// Asks for random bytes.
    random, randoms: GenerateRandom => RandomBytes, ["random"];
}

impl Client {
    async fn data<B: Serialize + Sync, A: DeserializeOwned>(&self, path: &[&str], body: &B) -> Result<A> {
        self.transport.post(path, body, Repeat::Unsent).await
    }
}
