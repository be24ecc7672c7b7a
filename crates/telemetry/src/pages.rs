//! Pages in JSON that a process serves on its admin listener: what is of use to look at and doesn't fit a
//! time series.

use std::fmt;

type Page = Box<dyn Fn(Query<'_>) -> Result<String, String> + Send + Sync>;

/// Pages by their paths. Each runs on the thread of the admin listener, so that it has to be quick.
#[derive(Default)]
pub struct Pages {
    pages: Vec<(&'static str, Page)>,
}

impl Pages {
    /// Adds a page: its JSON, or in one line for people what is wrong with the query. Of two for a path the first is served.
    pub fn add(
        &mut self,
        path: &'static str,
        page: impl Fn(Query<'_>) -> Result<String, String> + Send + Sync + 'static,
    ) {
        debug_assert!(path.starts_with('/'), "a path begins with a slash");
        self.pages.push((path, Box::new(page)));
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.pages.iter().map(|(path, _)| *path)
    }

    /// The page of a path; `None` if there is none.
    pub(crate) fn answer(&self, path: &str, query: Query<'_>) -> Option<Result<String, String>> {
        let (_, page) = self.pages.iter().find(|(known, _)| *known == path)?;
        Some(page(query))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}

/// The part of a request behind `?`: words and numbers, which need no escapes.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Of the text behind `?`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The first value of this name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_by_names() {
        let query = Query::new("list=authors&n=20&n=30&empty=&flag");
        assert_eq!(query.get("list"), Some("authors"));
        assert_eq!(query.get("n"), Some("20"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("flag"), None);
        assert_eq!(Query::new("").get("n"), None);
    }
}
