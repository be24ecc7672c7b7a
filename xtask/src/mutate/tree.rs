//! The copy of the tree that mutations change.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{Edit, Mutation};
use crate::shell;

/// Where everything of this task lies, from the root.
const HOME: &str = "target/mutate";

/// The file that lists what the copy consists of, beside it.
const LIST: &str = "files";

/// A copy of every file that is or could be committed, as it is in the work tree.
#[derive(Debug)]
pub(super) struct Tree {
    home: PathBuf,
}

/// Files of the copy that a mutation has changed, with what they were.
#[must_use]
pub(super) struct Changed {
    files: Vec<(PathBuf, String)>,
}

impl Tree {
    /// Makes the copy, or brings it up to date. Files that are the same aren't touched, so that what
    /// was built of them stays good.
    ///
    /// # Errors
    ///
    /// Git can't list the tree, or a file can't be copied.
    pub(super) fn sync(root: &Path) -> Result<Self> {
        let home = root.join(HOME);
        let tree = Self { home };
        fs::create_dir_all(tree.root())?;
        let files = shell::files()?;
        let before = fs::read_to_string(tree.home.join(LIST)).unwrap_or_default();
        let now: HashSet<&str> = files.iter().map(String::as_str).collect();
        for gone in before.lines().filter(|path| !now.contains(path)) {
            remove(&tree.root().join(gone)).with_context(|| format!("can't remove {gone}"))?;
        }
        // First the list: a copy that is cut off half-way is still known by it.
        fs::write(tree.home.join(LIST), files.join("\n"))?;
        for path in &files {
            copy(&root.join(path), &tree.root().join(path))
                .with_context(|| format!("can't copy {path}"))?;
        }
        Ok(tree)
    }

    /// The root of the copy.
    pub(super) fn root(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// Where the copy is built.
    pub(super) fn target(&self) -> PathBuf {
        self.home.join("target")
    }

    /// Where the output of a run goes.
    pub(super) fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Makes a mutation's edits.
    ///
    /// # Errors
    ///
    /// One doesn't apply; then none is made.
    pub(super) fn apply(&self, mutation: &Mutation) -> Result<Changed> {
        let mut files: Vec<(PathBuf, String, String)> = Vec::new();
        for edit in mutation.edits {
            let path = self.root().join(edit.file);
            let known = files.iter().position(|(file, _, _)| *file == path);
            let at = match known {
                Some(at) => at,
                None => {
                    let text = fs::read_to_string(&path)
                        .with_context(|| format!("can't read {}", edit.file))?;
                    files.push((path, text.clone(), text));
                    files.len() - 1
                }
            };
            let text = &mut files[at].2;
            *text = replaced(text, edit)?;
        }
        let mut changed = Changed { files: Vec::new() };
        for (path, before, after) in files {
            fs::write(&path, after)?;
            changed.files.push((path, before));
        }
        Ok(changed)
    }
}

impl Changed {
    /// Puts everything back.
    ///
    /// # Errors
    ///
    /// A file can't be written; the next [`Tree::sync`] does it.
    pub(super) fn restore(self) -> Result<()> {
        for (path, text) in self.files {
            fs::write(path, text)?;
        }
        Ok(())
    }
}

/// What is out of date about mutations, given the tree that they are for.
///
/// # Errors
///
/// Git can't list the tree.
pub(super) fn findings(root: &Path, mutations: &[&'static Mutation]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let sources = sources(root)?;
    for mutation in mutations {
        let name = mutation.name;
        for edit in mutation.edits {
            let text = fs::read_to_string(root.join(edit.file)).unwrap_or_default();
            if let Err(error) = replaced(&text, edit) {
                findings.push(format!("mutation {name}: {error:#}"));
            }
        }
        for test in mutation.caught_by.iter().flat_map(|tests| tests.names) {
            let function = format!("fn {test}");
            let exists = |text: &String| {
                let mut found = text.match_indices(&function);
                found.any(|(at, _)| text[at + function.len()..].starts_with(['(', '<']))
            };
            if !sources.iter().any(exists) {
                findings.push(format!("mutation {name}: there is no test {test}"));
            }
        }
    }
    Ok(findings)
}

fn replaced(text: &str, edit: &Edit) -> Result<String> {
    let count = text.matches(edit.old).count();
    ensure!(
        count == 1,
        "{} has this {count} times instead of once:\n{}",
        edit.file,
        edit.old
    );
    Ok(text.replacen(edit.old, edit.new, 1))
}

/// The texts of all Rust sources.
fn sources(root: &Path) -> Result<Vec<String>> {
    let files = shell::files()?;
    let sources = files.iter().filter(|path| path.ends_with(".rs"));
    // Another process may just have removed one.
    Ok(sources
        .filter_map(|path| fs::read_to_string(root.join(path)).ok())
        .collect())
}

/// Copies a file unless the copy is the same. The copy is always as new as the copying: an old date
/// would tell cargo that nothing has changed.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    remove(to)?;
    fs::write(to, bytes)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDIT: Edit = Edit {
        file: "a.rs",
        old: "sync();",
        new: "",
    };

    const TWICE: Mutation = Mutation {
        name: "twice",
        breaks: "nothing",
        edits: &[
            EDIT,
            Edit {
                file: "a.rs",
                old: "write();",
                new: "write(0);",
            },
        ],
        caught_by: &[],
    };

    fn tree(text: &str) -> (tempfile::TempDir, Tree) {
        let home = tempfile::tempdir().unwrap();
        let tree = Tree {
            home: home.path().to_owned(),
        };
        fs::create_dir_all(tree.root()).unwrap();
        fs::write(tree.root().join("a.rs"), text).unwrap();
        (home, tree)
    }

    #[test]
    fn edits_of_one_file_are_all_made_and_all_taken_back() {
        let (_home, tree) = tree("write(); sync(); show();");
        let read = || fs::read_to_string(tree.root().join("a.rs")).unwrap();
        let changed = tree.apply(&TWICE).unwrap();
        assert_eq!(read(), "write(0);  show();");
        changed.restore().unwrap();
        assert_eq!(read(), "write(); sync(); show();");
    }

    #[test]
    fn what_stands_there_twice_or_not_at_all_is_refused_and_nothing_is_changed() {
        for text in ["write(); sync(); sync();", "write();"] {
            let (_home, tree) = tree(text);
            assert!(tree.apply(&TWICE).is_err());
            let left = fs::read_to_string(tree.root().join("a.rs")).unwrap();
            assert_eq!(left, text);
        }
    }

    #[test]
    fn a_copy_is_touched_only_if_it_differs() {
        let (_home, tree) = tree("old");
        let (from, to) = (tree.home.join("from"), tree.root().join("a.rs"));
        fs::write(&from, "new").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        let date = fs::metadata(&to).unwrap().modified().unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), date);
    }
}
