//! What a matcher answers: pages, ends, refusals, counts, places.

use std::borrow::Cow;

use heliograph_bus::{AnswerEnd, AnswerPage, CommitNumber, Counted, Eose, Place};
use heliograph_protocol::{EoseHint, EventId, Origin, Prefix, Refusal};

use crate::{FormError, shared_event, v1};

impl From<Place> for v1::Place {
    fn from(place: Place) -> Self {
        Self {
            number: place.number.0,
            index: place.index,
        }
    }
}

impl From<v1::Place> for Place {
    fn from(place: v1::Place) -> Self {
        Self {
            number: CommitNumber(place.number),
            index: place.index,
        }
    }
}

impl From<Prefix> for v1::Prefix {
    fn from(prefix: Prefix) -> Self {
        match prefix {
            Prefix::Duplicate => Self::Duplicate,
            Prefix::Pow => Self::Pow,
            Prefix::Blocked => Self::Blocked,
            Prefix::RateLimited => Self::RateLimited,
            Prefix::Invalid => Self::Invalid,
            Prefix::Restricted => Self::Restricted,
            Prefix::Mute => Self::Mute,
            Prefix::Error => Self::Error,
            Prefix::AuthRequired => Self::AuthRequired,
            Prefix::Unsupported => Self::Unsupported,
        }
    }
}

impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        Self {
            prefix: v1::Prefix::from(refusal.prefix).into(),
            message: refusal.message.clone().into_owned(),
        }
    }
}

impl From<v1::Refusal> for Refusal {
    /// A prefix that this version doesn't know becomes `error:`: a refusal stays one.
    fn from(refusal: v1::Refusal) -> Self {
        let prefix = match refusal.prefix() {
            v1::Prefix::Duplicate => Prefix::Duplicate,
            v1::Prefix::Pow => Prefix::Pow,
            v1::Prefix::Blocked => Prefix::Blocked,
            v1::Prefix::RateLimited => Prefix::RateLimited,
            v1::Prefix::Invalid => Prefix::Invalid,
            v1::Prefix::Restricted => Prefix::Restricted,
            v1::Prefix::Mute => Prefix::Mute,
            v1::Prefix::Error | v1::Prefix::Unspecified => Prefix::Error,
            v1::Prefix::AuthRequired => Prefix::AuthRequired,
            v1::Prefix::Unsupported => Prefix::Unsupported,
        };
        Self::new(prefix, Cow::Owned(refusal.message))
    }
}

impl From<&Eose> for v1::Eose {
    fn from(eose: &Eose) -> Self {
        let hint = match eose.hint {
            EoseHint::None => v1::EoseHint::None,
            EoseHint::Finish => v1::EoseHint::Finish,
            EoseHint::More => v1::EoseHint::More,
        };
        Self {
            hint: hint.into(),
            applied: eose.applied.0,
            fresh: Some(v1::Values::join(eose.fresh.iter().map(EventId::as_bytes))),
            gone: Some(v1::Values::join(eose.gone.iter().map(EventId::as_bytes))),
            archive: eose.archive,
        }
    }
}

impl TryFrom<v1::Eose> for Eose {
    type Error = FormError;

    /// A hint that this version doesn't know is no hint.
    fn try_from(eose: v1::Eose) -> Result<Self, FormError> {
        let hint = match eose.hint() {
            v1::EoseHint::Finish => EoseHint::Finish,
            v1::EoseHint::More => EoseHint::More,
            v1::EoseHint::None | v1::EoseHint::Unspecified => EoseHint::None,
        };
        Ok(Self {
            hint,
            applied: CommitNumber(eose.applied),
            fresh: eose.fresh.unwrap_or_default().each(EventId::new)?,
            gone: eose.gone.unwrap_or_default().each(EventId::new)?,
            archive: eose.archive,
        })
    }
}

impl From<&AnswerEnd> for v1::page::End {
    fn from(end: &AnswerEnd) -> Self {
        match end {
            AnswerEnd::Eose(eose) => Self::Eose(eose.into()),
            AnswerEnd::Closed(refusal) => Self::Closed(refusal.into()),
        }
    }
}

impl TryFrom<v1::page::End> for AnswerEnd {
    type Error = FormError;

    fn try_from(end: v1::page::End) -> Result<Self, FormError> {
        Ok(match end {
            v1::page::End::Eose(eose) => Self::Eose(eose.try_into()?),
            v1::page::End::Closed(refusal) => Self::Closed(refusal.into()),
        })
    }
}

impl v1::Page {
    /// Splits a page into messages of about `bytes_max`, at least one; only an event that is larger
    /// itself makes one longer. Texts are shared.
    #[must_use]
    pub fn split(page: &AnswerPage, bytes_max: usize) -> Vec<Self> {
        let mut parts = vec![Self::default()];
        let mut bytes = 0;
        for event in &page.events {
            let json = event.json();
            if bytes > 0 && bytes + json.len() > bytes_max {
                parts.push(Self::default());
                bytes = 0;
            }
            bytes += json.len();
            if let Some(part) = parts.last_mut() {
                part.events.push(json.clone());
            }
        }
        if let Some(part) = parts.last_mut() {
            part.end = page.end.as_ref().map(v1::page::End::from);
        }
        parts
    }
}

impl TryFrom<v1::Page> for AnswerPage {
    type Error = FormError;

    fn try_from(page: v1::Page) -> Result<Self, FormError> {
        Ok(Self {
            events: page
                .events
                .into_iter()
                .map(|json| shared_event(json, Origin::default()))
                .collect::<Result<_, _>>()?,
            end: page.end.map(AnswerEnd::try_from).transpose()?,
        })
    }
}

impl From<&Result<Counted, Refusal>> for v1::CountReply {
    fn from(result: &Result<Counted, Refusal>) -> Self {
        let result = match result {
            Ok(counted) => v1::count_reply::Result::Counted(v1::Counted {
                count: counted.count,
                approximate: counted.approximate,
            }),
            Err(refusal) => v1::count_reply::Result::Refused(refusal.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

impl v1::CountReply {
    /// The count, or why there is none.
    ///
    /// # Errors
    ///
    /// [`FormError::Missing`] if neither is there.
    pub fn read(self) -> Result<Result<Counted, Refusal>, FormError> {
        match self.result.ok_or(FormError::Missing("count"))? {
            v1::count_reply::Result::Counted(counted) => Ok(Ok(Counted {
                count: counted.count,
                approximate: counted.approximate,
            })),
            v1::count_reply::Result::Refused(refusal) => Ok(Err(refusal.into())),
        }
    }
}
