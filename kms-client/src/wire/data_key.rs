//! Data keys: generated, wrapped, unwrapped and wrapped again.

use serde::{Deserialize, Serialize};

use super::{
    bytes::{Base64, Plaintext},
    context::ContextPairs,
    name::KeyName,
};
use crate::id::{DataKeyId, KeyId, KeyVersion, RecordId};

/// How many bytes are generated unless the request says otherwise: an AES-256 key.
pub const DEFAULT_BYTES: u32 = 32;
/// The most bytes that are generated at once.
pub const MOST_BYTES: u32 = 1024;
/// The longest plaintext that is wrapped.
pub const LONGEST_PLAINTEXT: usize = 4096;

/// Makes a data key and wraps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerateDataKey {
    /// The key to wrap it with: an id or `alias/NAME`.
    pub key: KeyName,
    /// What the data key is bound to: to unwrap it takes the same pairs.
    #[serde(default)]
    pub context: ContextPairs,
    /// How many bytes, 1 to 1,024.
    #[serde(default = "default_bytes")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1024, default = 32))]
    pub bytes: u32,
    /// Whether to answer the plaintext too. Without it, it is unwrapped when it is first needed.
    #[serde(default = "default_plaintext")]
    #[cfg_attr(feature = "openapi", schema(default = true))]
    pub plaintext: bool,
}

impl GenerateDataKey {
    /// A data key for AES-256, with its plaintext.
    #[must_use]
    pub fn new(key: KeyName, context: ContextPairs) -> Self {
        Self { key, context, bytes: DEFAULT_BYTES, plaintext: true }
    }
}

/// A new data key.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GeneratedDataKey {
    /// The key that wraps it.
    pub key: KeyId,
    /// The version that wraps it.
    pub version: KeyVersion,
    /// The data key's own id, kept when it is wrapped again.
    pub data_key: DataKeyId,
    /// The data key, wrapped: store it beside the data.
    pub wrapped: Base64,
    /// The data key itself, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<Plaintext>,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// Wraps a data key that the caller made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WrapDataKey {
    /// The key to wrap it with: an id or `alias/NAME`.
    pub key: KeyName,
    /// The data key, 1 to 4,096 bytes.
    pub plaintext: Plaintext,
    /// What the data key is bound to: to unwrap it takes the same pairs.
    #[serde(default)]
    pub context: ContextPairs,
}

/// A data key after it was wrapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WrappedDataKey {
    /// The key that wraps it.
    pub key: KeyId,
    /// The version that wraps it.
    pub version: KeyVersion,
    /// The data key's own id.
    pub data_key: DataKeyId,
    /// The data key, wrapped.
    pub wrapped: Base64,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// Unwraps a data key. The wrapped key names the key that wraps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnwrapDataKey {
    /// The wrapped key.
    pub wrapped: Base64,
    /// The pairs it was wrapped with.
    #[serde(default)]
    pub context: ContextPairs,
}

/// A data key after it was unwrapped.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnwrappedDataKey {
    /// The key that wrapped it.
    pub key: KeyId,
    /// The version that wrapped it.
    pub version: KeyVersion,
    /// The data key's own id.
    pub data_key: DataKeyId,
    /// The data key.
    pub plaintext: Plaintext,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// Wraps a data key again with the primary version of its key, in the same context. The plaintext stays in the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RewrapDataKey {
    /// The wrapped key.
    pub wrapped: Base64,
    /// The pairs it was wrapped with.
    #[serde(default)]
    pub context: ContextPairs,
}

/// Wraps a data key again with another key, in another context, or both. The plaintext stays in the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransferDataKey {
    /// The wrapped key.
    pub wrapped: Base64,
    /// The pairs it was wrapped with.
    #[serde(default)]
    pub context: ContextPairs,
    /// The key to wrap it with; the same as now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_key: Option<KeyName>,
    /// The pairs to wrap it with; the same as now unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_context: Option<ContextPairs>,
}

/// A data key after it was wrapped again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RewrappedDataKey {
    /// The key that wraps it now.
    pub key: KeyId,
    /// The version that wraps it now.
    pub version: KeyVersion,
    /// The data key's own id, the same as before.
    pub data_key: DataKeyId,
    /// The data key, wrapped: put it in the place of the old one.
    pub wrapped: Base64,
    /// The version that wrapped it before.
    pub previous_version: KeyVersion,
    /// The audit record of this answer.
    pub record: RecordId,
}

/// Asks for random bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerateRandom {
    /// How many bytes, 1 to 1,024.
    #[serde(default = "default_bytes")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1024, default = 32))]
    pub bytes: u32,
}

/// Random bytes, of the key store's and the kernel's randomness together.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RandomBytes {
    /// The bytes.
    pub bytes: Plaintext,
    /// The audit record of this answer.
    pub record: RecordId,
}

const fn default_bytes() -> u32 {
    DEFAULT_BYTES
}

const fn default_plaintext() -> bool {
    true
}
