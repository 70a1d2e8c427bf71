//! The server's code, held to its map: a module imports only from those below it in `kms-server/README.md`, and no file
//! grows past what one can read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// No file has more lines; at that size it is split by subject.
const MOST_LINES: usize = 500;
/// Built for tests alone, and used wherever a test kills the process: above nothing and below everything.
const CRASH_POINTS: &str = "crash";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The modules of the map, and the place of each: from top to bottom, and from left to right.
fn map() -> BTreeMap<String, usize> {
    let readme = fs::read_to_string(root().join("kms-server/README.md")).unwrap();
    let (_, table) = readme.split_once("## Where things live").expect("README.md has the map");
    let rows =
        table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let mut map = BTreeMap::new();
    for row in rows {
        let modules = row.split('|').nth(1).unwrap();
        for name in modules.split('`').skip(1).step_by(2) {
            let module = name.trim_end_matches('/').trim_end_matches(".rs").to_owned();
            let place = map.len();
            assert!(map.insert(module, place).is_none(), "`{name}` stands in the map twice");
        }
    }
    map
}

/// The code without comments; what stands in texts stays, and does no harm.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

/// The first names behind every `crate::`, those in braces included.
fn imported(code: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut names = Vec::new();
    for (place, found) in code.match_indices("crate::") {
        if code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let behind = &code[place + found.len()..];
        let Some(group) = behind.strip_prefix('{') else {
            names.push(name(behind));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    names.push(name(&group[start..at]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.push(name(&group[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The module of a file: the first part of its path under `src`.
fn module_of(file: &Path, src: &Path) -> String {
    let inner = file.strip_prefix(src).unwrap();
    let first = inner.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn imports_are_found_in_every_form() {
    let text = code(
        "use crate::model::Error; // crate::comment\nuse crate::{\n    store::{Tx, a::b},\n    gate,\n};\n\
         let x = crate::policy::ask(); pub(crate) fn f() {} $crate::crash::at(1); my_crate::no; use crate::{audit::A};",
    );
    assert_eq!(imported(&text), ["model", "store", "gate", "policy", "audit"]);
}

#[test]
fn a_module_imports_only_from_those_below_it() {
    let (map, src) = (map(), root().join("kms-server/src"));
    assert!(map.len() >= 15, "{map:?}");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in rust_files(&src) {
        let module = module_of(&file, &src);
        if module == "lib" || module == CRASH_POINTS {
            continue;
        }
        let shown = file.strip_prefix(&src).unwrap().display();
        let Some(own) = map.get(&module) else {
            wrong.push(format!("{shown}: `{module}` is not in the map"));
            continue;
        };
        for name in imported(&code(&fs::read_to_string(&file).unwrap())) {
            seen += 1;
            match map.get(&name) {
                Some(place) if *place > *own || name == module => {}
                None if name.starts_with(CRASH_POINTS) => {}
                Some(_) => wrong.push(format!("{shown}: `{module}` imports from `{name}`, which is not below it")),
                None => wrong.push(format!("{shown}: `{name}` is not in the map")),
            }
        }
    }
    wrong.dedup();
    assert!(seen > 100, "only {seen} imports were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_the_map_names_is_there() {
    let src = root().join("kms-server/src");
    for module in map().keys() {
        assert!(src.join(module).is_dir() || src.join(format!("{module}.rs")).is_file(), "`{module}` is gone");
    }
}

#[test]
fn no_file_grows_past_what_one_can_read() {
    let folders = ["kms-server/src", "kms-client/src", "hsm/src", "tests/src", "tests/suite"];
    let files: Vec<_> = folders.iter().flat_map(|folder| rust_files(&root().join(folder))).collect();
    let long: Vec<_> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}
