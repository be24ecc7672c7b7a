//! A disk that keeps only what was synced, and of the rest whatever it likes.
//!
//! A file has contents that are durable and writes that aren't yet; a directory has names that are
//! durable and changes that aren't yet. A power cut leaves any of the states of [`Model::states`]: of
//! the names any subset of the changes; of a file any prefix of its writes, byte for byte, or any
//! subset of the sectors that they touch.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use heliograph_store::conformance::Rng;

use super::tape::Step;

/// What is written as one.
const SECTOR: usize = 512;
/// Sectors of which every subset is tried; of more, so many subsets by chance.
const SECTORS_ALL: usize = 5;
const SUBSETS: u64 = 32;

/// The files of one directory, by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// How many states of a torn file are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Every prefix and many subsets of sectors.
    Every,
    /// Prefixes at places that matter, and some subsets.
    Some,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Write>,
    /// Writes that a failed sync left in the dark: they may be on the disk, and no later sync says so.
    dark: Vec<Write>,
}

#[derive(Debug, Clone)]
enum Write {
    At(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Clone)]
enum Change {
    Set(String, usize),
    Unset(String),
    Rename(String, String),
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Model {
    /// A disk on which everything is durable.
    pub(crate) fn of(files: &Files) -> Self {
        let mut model = Self::default();
        for (name, bytes) in files {
            model.names.insert(name.clone(), model.files.len());
            model.files.push(File {
                durable: bytes.clone(),
                ..File::default()
            });
        }
        model.durable_names.clone_from(&model.names);
        model
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                self.change(Change::Set(name(path), self.files.len()));
                self.files.push(File::default());
            }
            Step::Remove(path) => self.change(Change::Unset(name(path))),
            Step::Rename(from, to) => self.change(Change::Rename(name(from), name(to))),
            Step::SyncDir => {
                self.changes.clear();
                self.durable_names.clone_from(&self.names);
            }
            Step::Write(path, at, bytes) => {
                let at = usize::try_from(*at).unwrap();
                self.file(path).pending.push(Write::At(at, bytes.clone()));
            }
            Step::Cut(path, len) => {
                let len = usize::try_from(*len).unwrap();
                self.file(path).pending.push(Write::Cut(len));
            }
            Step::Sync(path) => self.file(path).sync(),
            Step::SyncFailed(path) => {
                let file = self.file(path);
                file.dark.append(&mut file.pending);
            }
            Step::Database(_)
            | Step::Sent(_)
            | Step::Acknowledged
            | Step::Refused
            | Step::Closed => {}
        }
    }

    fn change(&mut self, change: Change) {
        apply_change(&mut self.names, &change);
        self.changes.push(change);
    }

    fn file(&mut self, path: &Path) -> &mut File {
        &mut self.files[self.names[&name(path)]]
    }

    /// What a killed process leaves: the system still has every write.
    pub(crate) fn killed(&self) -> Files {
        let content = |(name, file): (&String, &usize)| (name.clone(), self.files[*file].current());
        self.names.iter().map(content).collect()
    }

    /// What a power cut may leave, each state once.
    pub(crate) fn states(&self, effort: Effort, rng: &mut Rng) -> BTreeSet<Files> {
        let variants: Vec<Vec<Vec<u8>>> = self
            .files
            .iter()
            .map(|file| file.variants(effort, rng))
            .collect();
        let mut states = BTreeSet::new();
        for names in self.name_variants() {
            // One file at a time in all its variants, the others as they are for sure.
            for torn in names.values() {
                for variant in &variants[*torn] {
                    let content = |(name, file): (&String, &usize)| {
                        let bytes = if file == torn {
                            variant
                        } else {
                            &self.files[*file].durable
                        };
                        (name.clone(), bytes.clone())
                    };
                    states.insert(names.iter().map(content).collect());
                }
            }
            if names.is_empty() {
                states.insert(Files::new());
            }
        }
        states
    }

    fn name_variants(&self) -> Vec<BTreeMap<String, usize>> {
        assert!(self.changes.len() < 8, "{:?}", self.changes);
        let subsets = 0..1_u32 << self.changes.len();
        subsets
            .map(|subset| {
                let mut names = self.durable_names.clone();
                for (number, change) in self.changes.iter().enumerate() {
                    if subset & (1 << number) != 0 {
                        apply_change(&mut names, change);
                    }
                }
                names
            })
            .collect()
    }

    /// The files that have writes that aren't durable.
    pub(crate) fn torn_files(&self, effort: Effort, rng: &mut Rng) -> Vec<TornFile> {
        let torn = |(name, file): (&String, &usize)| {
            let file = &self.files[*file];
            TornFile {
                name: name.clone(),
                durable: file.durable.clone(),
                current: file.current(),
                variants: file.variants(effort, rng),
            }
        };
        let unsynced = |(_name, file): &(&String, &usize)| !self.files[**file].pending.is_empty();
        self.names.iter().filter(unsynced).map(torn).collect()
    }
}

/// A file with writes that aren't durable.
#[derive(Debug)]
pub(crate) struct TornFile {
    pub(crate) name: String,
    pub(crate) durable: Vec<u8>,
    pub(crate) current: Vec<u8>,
    pub(crate) variants: Vec<Vec<u8>>,
}

fn apply_change(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Set(name, file) => {
            names.insert(name.clone(), *file);
        }
        Change::Unset(name) => {
            names.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
    }
}

fn apply_write(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::At(at, new) => {
            let end = at + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(new);
        }
        Write::Cut(len) => bytes.resize(*len, 0),
    }
}

impl File {
    fn current(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let writes = self.dark.iter().chain(&self.pending);
        writes.for_each(|write| apply_write(&mut bytes, write));
        bytes
    }

    fn sync(&mut self) {
        let cut = self
            .pending
            .iter()
            .any(|write| matches!(write, Write::Cut(_)));
        for write in std::mem::take(&mut self.pending) {
            apply_write(&mut self.durable, &write);
        }
        let durable = self.durable.len();
        self.dark.retain(|write| match write {
            Write::At(at, _bytes) => !cut && *at >= durable,
            Write::Cut(_) => false,
        });
    }

    fn variants(&self, effort: Effort, rng: &mut Rng) -> Vec<Vec<u8>> {
        let mut variants = BTreeSet::new();
        let mut bytes = self.durable.clone();
        variants.insert(bytes.clone());
        for write in self.dark.iter().chain(&self.pending) {
            if let Write::At(at, new) = write {
                for len in prefixes(new.len(), effort) {
                    let mut torn = bytes.clone();
                    apply_write(&mut torn, &Write::At(*at, new[..len].to_vec()));
                    variants.insert(torn);
                }
            }
            apply_write(&mut bytes, write);
            variants.insert(bytes.clone());
        }
        self.sectors(&bytes, effort, rng, &mut variants);
        variants.into_iter().collect()
    }

    /// Sectors of `current` in any subset over what is durable.
    fn sectors(
        &self,
        current: &[u8],
        effort: Effort,
        rng: &mut Rng,
        variants: &mut BTreeSet<Vec<u8>>,
    ) {
        let old = |at: usize| self.durable.get(at).copied().unwrap_or(0);
        let ends = |sector: usize| ((sector + 1) * SECTOR).min(current.len());
        let touched: Vec<usize> = (0..current.len().div_ceil(SECTOR))
            .filter(|sector| {
                let range = sector * SECTOR..ends(*sector);
                range.end > self.durable.len() || range.into_iter().any(|at| old(at) != current[at])
            })
            .collect();
        if touched.len() < 2 {
            return;
        }
        let all = touched.len() <= SECTORS_ALL && effort == Effort::Every;
        let subsets = if all {
            1 << touched.len()
        } else if effort == Effort::Every {
            SUBSETS
        } else {
            4
        };
        for number in 0..subsets {
            let subset = if all { number } else { rng.below(u64::MAX) };
            let kept = |index: usize| subset & (1 << (index % 64)) != 0;
            let mut bytes: Vec<u8> = (0..current.len()).map(old).collect();
            let mut end = self.durable.len().min(current.len());
            for (_index, sector) in touched.iter().enumerate().filter(|(n, _)| kept(*n)) {
                let range = sector * SECTOR..ends(*sector);
                end = end.max(range.end);
                bytes[range.clone()].copy_from_slice(&current[range]);
            }
            variants.insert(bytes[..end].to_vec());
            variants.insert(bytes);
        }
    }
}

fn prefixes(len: usize, effort: Effort) -> Vec<usize> {
    if effort == Effort::Every {
        return (0..=len).collect();
    }
    // Around a segment's header, a record's head, the first length; the last byte.
    let places = [
        0,
        1,
        11,
        12,
        16,
        23,
        24,
        len / 2,
        len.saturating_sub(1),
        len,
    ];
    places.into_iter().filter(|place| *place <= len).collect()
}
