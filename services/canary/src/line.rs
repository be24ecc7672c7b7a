//! A connection as the engine sees it: whether it is up, and what the log says about that.

use crate::{
    link::{Link, Place},
    run::Run,
};

/// A connection and what is known of it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) link: Link,
    place: Place,
    url: String,
    pub(crate) is_ready: bool,
    /// Whether it has worked or failed once.
    pub(crate) is_tried: bool,
    has_worked: bool,
    losses: Run,
    /// Why it is down.
    pub(crate) trouble: Option<String>,
}

impl Line {
    /// One that was just started.
    pub(crate) fn new(place: Place, url: &str, link: Link) -> Self {
        Self {
            link,
            place,
            url: url.to_owned(),
            is_ready: false,
            is_tried: false,
            has_worked: false,
            losses: Run::default(),
            trouble: None,
        }
    }

    /// It works.
    pub(crate) fn up(&mut self) {
        (self.is_ready, self.is_tried) = (true, true);
        self.trouble = None;
        let (place, url) = (self.place, self.url.as_str());
        if let Some(attempts) = self.losses.end() {
            tracing::info!(%place, url, attempts, "connected again");
        } else if !self.has_worked {
            tracing::info!(%place, url, "connected");
        }
        self.has_worked = true;
    }

    /// It doesn't. What comes of that is another line of the log, if anything does.
    pub(crate) fn down(&mut self, why: String) {
        (self.is_ready, self.is_tried) = (false, true);
        let (place, url) = (self.place, self.url.as_str());
        if self.losses.fail() {
            tracing::info!(%place, url, why, "no connection");
        } else {
            tracing::debug!(%place, url, why, "no connection");
        }
        self.trouble = Some(why);
    }
}
