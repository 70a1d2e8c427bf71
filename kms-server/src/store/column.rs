//! Rust values as both databases hold them: numbers as `i64`, times as microseconds, hashes as bytes.

use jiff::Timestamp;

use super::Error;

/// A number that the database can hold.
pub(super) fn to_i64(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::TooLarge(number))
}

pub(super) fn to_u64(column: &'static str, number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Corrupt(column))
}

pub(super) fn to_u32(column: &'static str, number: i64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::Corrupt(column))
}

pub(super) fn to_time(column: &'static str, micros: i64) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(micros).map_err(|_| Error::Corrupt(column))
}

pub(super) fn to_array<const N: usize>(column: &'static str, bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Corrupt(column))
}
