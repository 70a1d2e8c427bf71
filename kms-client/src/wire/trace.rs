//! The trace that a request belongs to (W3C Trace Context, version 00): who made it says so in the header `traceparent`.

use std::{fmt, str::FromStr};

use super::{name::InvalidName, spelling::as_text};

/// The header.
pub const TRACEPARENT: &str = "traceparent";

/// A place in a trace: `00`, the trace, the span that asks, and flags, as in
/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace; not zero.
    pub trace: [u8; 16],
    /// The span that asks; not zero.
    pub span: [u8; 8],
    /// The flags.
    pub flags: u8,
}

impl TraceParent {
    /// Whether whoever asks may have recorded its part of the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex::encode(self.trace), hex::encode(self.span), self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const RULE: &str =
            "it is `00`, 32, 16 and 2 digits in lower-case hexadecimal, with `-` between, and no id is zero";
        parse(text).ok_or_else(|| InvalidName::new("traceparent", RULE, text))
    }
}

as_text!(TraceParent);

fn parse(text: &str) -> Option<TraceParent> {
    let parts: Vec<_> = text.splitn(5, '-').collect();
    let ["00", trace, span, flags] = parts.as_slice() else { return None };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let (mut parent, mut last) = (TraceParent { trace: [0; 16], span: [0; 8], flags: 0 }, [0]);
    hex::decode_to_slice(trace, &mut parent.trace).ok()?;
    hex::decode_to_slice(span, &mut parent.span).ok()?;
    hex::decode_to_slice(flags, &mut last).ok()?;
    parent.flags = last[0];
    (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_form_is_taken() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good: TraceParent = format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap();
        assert_eq!((hex::encode(good.trace).as_str(), good.is_sampled()), (trace, true));
        for bad in [
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}-00f067aa0ba902b7"),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("01-{trace}-00f067aa0ba902b7-01"),
            "\"quoted\"".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so(text in "0[01]-[0-9a-fA]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(parent.to_string(), text);
            }
        }
    }
}
