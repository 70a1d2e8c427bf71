//! Bodies, which may hold plaintext: wiped when they are dropped, and when they grow. What the TLS and HTTP libraries copy
//! is not within our reach.

use std::{fmt, io};

use bytes::Bytes;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a body.
#[derive(Default)]
pub(super) struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    /// None yet, with room for so many.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds bytes that somebody else wipes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            // A vector that grows by itself leaves its old bytes behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(self.0.capacity().saturating_mul(2))));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Adds bytes, and wipes where they were if nobody else holds them.
    pub(super) fn take(&mut self, bytes: Bytes) {
        self.append(&bytes);
        if let Ok(mut ours) = bytes.try_into_mut() {
            ours.as_mut().zeroize();
        }
    }

    /// The bytes for a connection to send; wiped when it has.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiped({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_shows_nothing() {
        let mut body = Wiped::with_capacity(2);
        for _ in 0..100 {
            body.take(Bytes::from_static(b"abc"));
        }
        assert_eq!(format!("{body:?}"), "Wiped(300 bytes)");
        assert_eq!(body.into_bytes(), "abc".repeat(100));
    }
}
