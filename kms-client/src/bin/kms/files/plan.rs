//! Which files are read and what is written, decided before the first of them is touched.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// What the name of an encrypted file ends in, after a dot.
const SUFFIX: &str = "kw";
/// What the name of a file ends in that is being written.
const PART_SUFFIX: &str = "kms-part";

/// How a file's name becomes that of the file made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// Encryption: `.kw` is added; folders are searched for files without it.
    AddSuffix,
    /// Decryption: `.kw` is dropped; folders are searched for files with it.
    DropSuffix,
    /// Rewrapping: the file is replaced; folders are searched for files with `.kw`.
    InPlace,
}

/// One file to be made from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) size: u64,
}

/// All that is to be done, and what already cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    pub(super) failures: Vec<(PathBuf, Failure)>,
    /// Symbolic links and things that are no files.
    pub(super) skipped: usize,
}

/// Decides what to do with these paths.
pub(super) fn plan(paths: &[PathBuf], out: Option<&Path>, naming: Naming) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    for path in paths {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(source) => {
                plan.fail(path.clone(), source);
                continue;
            }
        };
        if metadata.is_dir() {
            let base = out.map(|out| if paths.len() > 1 { out.join(own_name(path)) } else { out.to_owned() });
            plan.search(path, base.as_deref(), naming);
        } else {
            let to = single(path, out, paths.len() == 1, naming)?;
            plan.jobs.push(Job { from: path.clone(), to, size: metadata.len() });
        }
    }
    plan.jobs.sort_by(|a, b| a.from.cmp(&b.from));
    let mut targets = BTreeSet::new();
    for job in &plan.jobs {
        if !targets.insert(&job.to) {
            return Err(Failure::Usage(format!("two files would both become `{}`", job.to.display())));
        }
    }
    Ok(plan)
}

impl Plan {
    /// Finds the files of a folder, without following links: they could lead anywhere.
    fn search(&mut self, root: &Path, out: Option<&Path>, naming: Naming) {
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(source) => {
                    self.fail(folder, source);
                    continue;
                }
            };
            for entry in entries {
                match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                    Ok((path, metadata)) if metadata.is_dir() => folders.push(path),
                    Ok((path, metadata)) if metadata.is_file() => {
                        if let Some(to) = found(&path, root, out, naming) {
                            self.jobs.push(Job { from: path, to, size: metadata.len() });
                        }
                    }
                    Ok(_) => self.skipped += 1,
                    Err(source) => self.fail(folder.clone(), source),
                }
            }
        }
    }

    fn fail(&mut self, path: PathBuf, source: io::Error) {
        let failure = Failure::File { action: "read", path: path.clone(), source };
        self.failures.push((path, failure));
    }
}

/// Where a file that was named goes.
fn single(path: &Path, out: Option<&Path>, alone: bool, naming: Naming) -> Result<PathBuf, Failure> {
    let out = match out {
        // With a slash at its end, a path means a folder, there or not.
        Some(out) if alone && !out.is_dir() && !out.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            return Ok(out.to_owned());
        }
        out => out,
    };
    let renamed = rename(path, naming).ok_or_else(|| {
        Failure::Usage(format!("`{}` does not end in `.{SUFFIX}`: name the new file with --out FILE", path.display()))
    })?;
    Ok(match out {
        Some(out) => out.join(own_name(&renamed)),
        None => renamed,
    })
}

/// Where a file that was found in a folder goes; nowhere, if it is none of those that were looked for.
fn found(path: &Path, root: &Path, out: Option<&Path>, naming: Naming) -> Option<PathBuf> {
    let extension = path.extension().unwrap_or_default();
    let encrypted = extension == SUFFIX;
    if extension == PART_SUFFIX || encrypted == (naming == Naming::AddSuffix) {
        return None;
    }
    let renamed = rename(path, naming)?;
    match out {
        Some(out) => renamed.strip_prefix(root).ok().map(|relative| out.join(relative)),
        None => Some(renamed),
    }
}

fn rename(path: &Path, naming: Naming) -> Option<PathBuf> {
    match naming {
        Naming::AddSuffix => {
            let mut name = path.as_os_str().to_owned();
            name.push(".");
            name.push(SUFFIX);
            Some(name.into())
        }
        Naming::DropSuffix => {
            path.extension().filter(|extension| *extension == SUFFIX).map(|_| path.with_extension(""))
        }
        Naming::InPlace => Some(path.to_owned()),
    }
}

/// The last part of a path; of `.` and `..`, that of the folder they mean.
fn own_name(path: &Path) -> PathBuf {
    if let Some(name) = path.file_name() {
        return name.into();
    }
    let whole = fs::canonicalize(path).unwrap_or_default();
    whole.file_name().map(PathBuf::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, by the test's name.
    fn folder(test: &str, files: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("kms-plan-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        root
    }

    fn targets(root: &Path, plan: &Plan) -> Vec<String> {
        plan.jobs.iter().map(|job| job.to.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_folder_and_back() {
        let root = folder("back", &["in/a", "in/b.tar", "in/sub/c.kw", "in/.d.1f.kms-part"]);
        let (input, encrypted, back) = (root.join("in"), root.join("enc"), root.join("dec"));
        let there = plan(std::slice::from_ref(&input), Some(&encrypted), Naming::AddSuffix).unwrap();
        assert_eq!(targets(&root, &there), ["enc/a.kw", "enc/b.tar.kw"]);
        for job in &there.jobs {
            fs::create_dir_all(job.to.parent().unwrap()).unwrap();
            fs::write(&job.to, "y").unwrap();
        }
        let and_back = plan(std::slice::from_ref(&encrypted), Some(&back), Naming::DropSuffix).unwrap();
        assert_eq!(targets(&root, &and_back), ["dec/a", "dec/b.tar"]);
        let in_place = plan(&[encrypted], None, Naming::InPlace).unwrap();
        assert_eq!(targets(&root, &in_place), ["enc/a.kw", "enc/b.tar.kw"]);
        let beside = plan(&[input], None, Naming::DropSuffix).unwrap();
        assert_eq!(targets(&root, &beside), ["in/sub/c"]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn single_files() {
        let root = folder("single", &["a", "b.kw", "out/x"]);
        let target = |path: &str, out: Option<PathBuf>, naming| {
            plan(&[root.join(path)], out.as_deref(), naming).map(|plan| targets(&root, &plan).remove(0))
        };
        assert_eq!(target("a", None, Naming::AddSuffix).unwrap(), "a.kw");
        assert_eq!(target("a", Some(root.join("new")), Naming::AddSuffix).unwrap(), "new");
        assert_eq!(target("a", Some(root.join("new/")), Naming::AddSuffix).unwrap(), "new/a.kw");
        assert_eq!(target("a", Some(root.join("out")), Naming::AddSuffix).unwrap(), "out/a.kw");
        assert_eq!(target("b.kw", None, Naming::DropSuffix).unwrap(), "b");
        assert!(target("a", None, Naming::DropSuffix).is_err());
        assert_eq!(target("a", Some(root.join("new")), Naming::DropSuffix).unwrap(), "new");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn several_paths_share_a_folder_without_clashing() {
        let root = folder("several", &["p/a", "q/a", "a"]);
        let all = plan(&[root.join("p"), root.join("q"), root.join("a")], Some(&root.join("o")), Naming::AddSuffix);
        assert_eq!(targets(&root, &all.unwrap()), ["o/a.kw", "o/p/a.kw", "o/q/a.kw"]);
        let clash = plan(&[root.join("p/a"), root.join("q/a")], Some(&root.join("o")), Naming::AddSuffix);
        assert!(clash.is_err());
        let missing = plan(&[root.join("nothing")], None, Naming::AddSuffix).unwrap();
        assert_eq!((missing.jobs.len(), missing.failures.len()), (0, 1));
        fs::remove_dir_all(root).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_left_alone() {
        let root = folder("links", &["in/a"]);
        std::os::unix::fs::symlink(&root, root.join("in/up")).unwrap();
        let found = plan(&[root.join("in")], None, Naming::AddSuffix).unwrap();
        assert_eq!((found.jobs.len(), found.skipped), (1, 1));
        fs::remove_dir_all(root).unwrap();
    }
}
