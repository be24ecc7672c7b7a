//! Which events of a history a filter matches, found once for each filter that occurs.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use heliograph_protocol::Filter;

use super::model::Model;

/// Numbers of facts, newest event first, then lowest id.
pub(super) type Matching = Rc<[usize]>;

/// Answers kept by the text of the filter.
#[derive(Debug)]
pub(super) struct Matches<'m, 'a> {
    model: &'m Model<'a>,
    known: RefCell<HashMap<String, Matching>>,
}

impl<'m, 'a> Matches<'m, 'a> {
    pub(super) fn new(model: &'m Model<'a>) -> Self {
        Self {
            model,
            known: RefCell::default(),
        }
    }

    pub(super) fn of(&self, text: &str, filter: &Filter) -> Matching {
        if let Some(known) = self.known.borrow().get(text) {
            return Rc::clone(known);
        }
        let facts = &self.model.facts;
        let mut matching: Vec<usize> = self.candidates(filter);
        matching.retain(|fact| filter.matches(facts[*fact].event));
        matching.sort_unstable_by_key(|fact| facts[*fact].event.position());
        let matching: Matching = matching.into();
        let key = text.to_owned();
        self.known.borrow_mut().insert(key, Rc::clone(&matching));
        matching
    }

    /// A few of which all that match are some.
    fn candidates(&self, filter: &Filter) -> Vec<usize> {
        let model = self.model;
        if let Some(ids) = &filter.ids {
            let known = ids.iter().filter_map(|id| model.by_id.get(id));
            return known.copied().collect();
        }
        if let Some(authors) = &filter.authors {
            let known = authors.iter().filter_map(|key| model.by_author.get(key));
            return known.flatten().copied().collect();
        }
        (0..model.facts.len()).collect()
    }
}
