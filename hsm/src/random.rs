//! Random bytes that are unpredictable if either the token's generator or the system's is good: two independent streams,
//! one exclusive-or.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::error::Error;
use crate::object::Nonce;
use crate::secret::Secret;
use crate::session::Token;

impl Token {
    /// The token's own random bytes.
    pub(crate) fn random(&mut self, len: usize) -> Result<Secret, Error> {
        let mut bytes = Secret::new(vec![0; len]);
        // Tokens disagree on whether nothing may be asked for.
        if !bytes.is_empty() {
            let drawn = self.session()?.generate_random_slice(bytes.as_mut_bytes());
            drawn.map_err(|error| self.fault(error))?;
        }
        Ok(bytes)
    }
}

/// Adds the system's random bytes to the token's.
pub(crate) fn mix(bytes: &mut Secret) -> Result<(), Error> {
    let mut system = Secret::new(vec![0; bytes.len()]);
    SystemRandom::new().fill(system.as_mut_bytes()).map_err(|_| Error::Random)?;
    for (byte, other) in bytes.as_mut_bytes().iter_mut().zip(system.as_bytes()) {
        *byte ^= other;
    }
    Ok(())
}

/// A nonce for a canary. These are few per key, so the system's generator alone will do.
pub(crate) fn nonce() -> Result<Nonce, Error> {
    let mut bytes = [0; Nonce::LEN];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(Nonce::new(bytes))
}
