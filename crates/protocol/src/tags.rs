//! Tags, read on demand from an event's canonical text.

use std::borrow::Cow;

use crate::json::{JsonStr, Scanner};

/// An event's tags in order. Cheap to copy; nothing is decoded until asked for.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    scanner: Scanner<'a>,
    done: bool,
}

impl<'a> Tags<'a> {
    /// Reads the canonical text of a `tags` member, which the parser has checked.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut scanner = Scanner::new(text);
        let opened = scanner.eat(b'[').unwrap_or(false);
        let empty = scanner.eat(b']').unwrap_or(true);
        Self {
            scanner,
            done: !opened || empty,
        }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        if self.done {
            return None;
        }
        let start = self.scanner.at();
        self.scanner.eat(b'[').ok()?;
        loop {
            self.scanner.string("").ok()?;
            if !self.scanner.more(b']').ok()? {
                break;
            }
        }
        let text = self.scanner.slice(start);
        self.done = !self.scanner.more(b']').unwrap_or(false);
        Some(Tag { text })
    }
}

/// One tag: at least one string (R01-9).
#[derive(Debug, Clone, Copy)]
pub struct Tag<'a> {
    text: &'a str,
}

impl<'a> Tag<'a> {
    /// The elements as they stand, name first.
    pub fn raw_elements(self) -> impl Iterator<Item = JsonStr<'a>> {
        let mut scanner = Scanner::new(self.text);
        let mut more = scanner.eat(b'[').unwrap_or(false);
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let element = scanner.string("").ok()?;
            more = scanner.more(b']').unwrap_or(false);
            Some(element)
        })
    }

    /// The decoded elements, name first.
    pub fn elements(self) -> impl Iterator<Item = Cow<'a, str>> {
        self.raw_elements()
            .map(|element| element.decode().unwrap_or_default())
    }

    /// The decoded element at `index`; 0 is the name, 1 the value.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Cow<'a, str>> {
        self.elements().nth(index)
    }

    /// Whether the first element is `name`.
    #[must_use]
    pub fn is_named(self, name: &str) -> bool {
        self.raw_elements()
            .next()
            .is_some_and(|first| first.is(name))
    }

    /// The second element, if there is one (R01-44: a tag without it has no value).
    #[must_use]
    pub fn value(self) -> Option<Cow<'a, str>> {
        self.get(1)
    }

    /// The name, if it is one ASCII letter: such tags are indexed (R01-64).
    #[must_use]
    pub fn letter(self) -> Option<u8> {
        match self.text.as_bytes() {
            [b'[', b'"', letter, b'"', ..] if letter.is_ascii_alphabetic() => Some(*letter),
            _ => None,
        }
    }
}
