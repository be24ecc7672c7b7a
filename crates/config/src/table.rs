//! The macro behind the table of keys.

use crate::{environment, read::Checker, value::Shape};

/// One key of the configuration, as documented.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and name: `gateway.listen`.
    pub name: &'static str,
    /// What it does and why its default is what it is; lines with their leading space.
    pub(crate) doc_lines: &'static [&'static str],
    /// The unit of its number, or what kind of value it is.
    pub unit: &'static str,
    /// The default, as the tokens of the table, which are TOML with a line break here and there.
    pub(crate) default_tokens: &'static str,
    /// Whether SIGHUP takes a new value; otherwise it needs a restart.
    pub reload: bool,
    pub(crate) about: fn() -> About,
}

impl Key {
    /// The environment variable: `HELIOGRAPH_GATEWAY_LISTEN`.
    #[must_use]
    pub fn env(&self) -> String {
        format!(
            "{}{}",
            environment::PREFIX,
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }

    /// What it does and why its default is what it is, as one paragraph.
    #[must_use]
    pub fn doc(&self) -> String {
        let lines: Vec<_> = self.doc_lines.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }

    /// The default, as TOML.
    #[must_use]
    pub fn default(&self) -> String {
        self.default_tokens
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// What is allowed, in words: `1 to 5,000`.
    #[must_use]
    pub fn allowed(&self) -> String {
        (self.about)().allowed
    }

    pub(crate) fn shape(&self) -> Shape {
        (self.about)().shape
    }

    /// Whether its value is shown to nobody, and read from a file that the environment names too.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        (self.about)().secret
    }

    /// The part before the dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(section, _)| section)
    }
}

/// What the check of a key says about it.
pub(crate) struct About {
    pub(crate) shape: Shape,
    pub(crate) allowed: String,
    pub(crate) secret: bool,
}

/// Fills a section of [`Config`](crate::Config) from what was written.
pub(crate) trait Section: Sized {
    /// `None` if a key is wrong; the checker then holds the errors.
    fn check(checker: &mut Checker<'_>) -> Option<Self>;
}

/// Expands the table of keys into the checked types, [`KEYS`](crate::KEYS) and the check.
///
/// One key: `name [as "written_name"]: Type = default, unit, check, reload|restart;`
macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {$(
            $(#[doc = $doc:literal])+
            $field:ident $(as $name:literal)?: $ty:ty = $default:tt, $unit:literal, $check:expr, $reload:ident;
        )+}
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section {$(
                $(#[doc = $doc])+
                pub $field: $ty,
            )+}

            impl crate::table::Section for $Section {
                fn check(checker: &mut crate::read::Checker<'_>) -> Option<Self> {
                    $(let $field: Option<$ty> = checker.take(
                        settings!(@name $section $field $($name)?),
                        &$check,
                    );)+
                    Some(Self {$($field: $field?,)+})
                }
            }
        )+

        /// The whole configuration, checked: every unit and range is proven.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {$(
            $(#[doc = $section_doc])+
            pub $section: $Section,
        )+}

        impl crate::table::Section for Config {
            fn check(checker: &mut crate::read::Checker<'_>) -> Option<Self> {
                $(let $section = $Section::check(checker);)+
                Some(Self {$($section: $section?,)+})
            }
        }

        /// Every key there is, section by section.
        pub const KEYS: &[crate::table::Key] = &[$($(crate::table::Key {
            name: settings!(@name $section $field $($name)?),
            doc_lines: &[$($doc),+],
            unit: $unit,
            default_tokens: stringify!($default),
            reload: settings!(@reload $reload),
            about: || {
                let check: crate::check::Check<$ty> = $check;
                crate::table::About {
                    shape: check.shape,
                    allowed: check.allowed,
                    secret: check.secret,
                }
            },
        },)+)+];

        /// What a section is about, by its name.
        pub(crate) const SECTIONS: &[(&str, &[&str])] =
            &[$((stringify!($section), &[$($section_doc),+]),)+];
    };
    (@name $section:ident $field:ident) => {
        concat!(stringify!($section), ".", stringify!($field))
    };
    (@name $section:ident $field:ident $name:literal) => {
        concat!(stringify!($section), ".", $name)
    };
    (@reload reload) => { true };
    (@reload restart) => { false };
}
pub(crate) use settings;
