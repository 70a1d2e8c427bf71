//! What a test says is to happen. Its folder holds
//!
//! - `rules`: a line each, `FUNCTION fail 0xRV TIMES AFTER`, `FUNCTION block TIMES AFTER` or `FUNCTION pass`; `*` is every
//!   function. The first line that names a function counts. A rule lets AFTER calls pass, then holds for TIMES calls. The
//!   counts begin anew when the file changes.
//! - `calls`: the name of each function that a rule named, a line for each call.
//! - `blocked` and `release`: two FIFOs. A call that blocks writes its function's name to the first and waits for a byte from
//!   the second; then it goes on as if nothing had been.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cryptoki_sys::{CK_RV, CKR_GENERAL_ERROR};

static RULES: Mutex<Rules> = Mutex::new(Rules { text: String::new(), rules: Vec::new() });

struct Rules {
    text: String,
    rules: Vec<Rule>,
}

struct Rule {
    function: String,
    action: Action,
    times: u64,
    after: u64,
}

#[derive(Clone, Copy)]
enum Action {
    Fail(CK_RV),
    Block,
    Pass,
}

/// Does what a rule says of a call of this function; with an answer if it is not to be made.
pub(crate) fn meet(function: &str) -> Option<CK_RV> {
    let folder = PathBuf::from(env::var_os("KEYWARD_PKCS11_FAULTS")?);
    let text = fs::read_to_string(folder.join("rules")).ok()?;
    match action(&folder, &text, function)? {
        Action::Fail(code) => Some(code),
        Action::Block => block(&folder, function).err().map(|_| CKR_GENERAL_ERROR),
        Action::Pass => None,
    }
}

fn action(folder: &Path, text: &str, function: &str) -> Option<Action> {
    let mut rules = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    if rules.text != text {
        *rules = Rules { text: text.to_owned(), rules: text.lines().filter_map(parse).collect() };
    }
    let rule = rules.rules.iter_mut().find(|rule| rule.function == function || rule.function == "*")?;
    let mut calls = OpenOptions::new().append(true).create(true).open(folder.join("calls")).ok()?;
    writeln!(calls, "{function}").ok()?;
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    rule.times = rule.times.checked_sub(1)?;
    Some(rule.action)
}

fn parse(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let (function, action) = (words.next()?.to_owned(), words.next()?);
    let action = match action {
        "fail" => Action::Fail(CK_RV::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?),
        "block" => Action::Block,
        _ => Action::Pass,
    };
    let mut number = |default| words.next().map_or(Some(default), |word| word.parse().ok());
    Some(Rule { function, action, times: number(u64::MAX)?, after: number(0)? })
}

/// Returns when the test releases the call.
fn block(folder: &Path, function: &str) -> io::Result<()> {
    let mut blocked = OpenOptions::new().write(true).open(folder.join("blocked"))?;
    writeln!(blocked, "{function}")?;
    File::open(folder.join("release"))?.read_exact(&mut [0])
}
