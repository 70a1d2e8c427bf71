//! What we rely on of a PKCS#11 token, through this crate. Runs on SoftHSM, a fresh token per test, or on the token that
//! `HSM_TEST_MODULE`, `HSM_TEST_TOKEN`, `HSM_TEST_PIN` and `HSM_TEST_PROFILE` name; tests that need a token of their own
//! (to break it, or to count what is on it) are skipped there.

#[cfg(test)]
mod data;
#[cfg(test)]
mod gcm;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod load;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod token;
