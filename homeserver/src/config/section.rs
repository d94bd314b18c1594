//! The macro that declares a section of the configuration.

/// One option, as the example file shows it.
#[derive(Clone, Debug)]
pub(super) struct OptionDoc {
    /// The key.
    pub(super) key: &'static str,
    /// The lines of its documentation.
    pub(super) doc: &'static [&'static str],
    /// The default; `None` for an option that is absent unless set.
    pub(super) default: Option<toml::Value>,
    /// What to show instead of an empty default.
    pub(super) example: Option<&'static str>,
}

/// A struct declared by [`section!`](crate::config::section).
pub(super) trait Section {
    /// The lines of the section's documentation.
    const DOC: &'static [&'static str];

    /// Its options, in the order of the source.
    fn options() -> Vec<OptionDoc>;
}

/// Declares a section: a struct whose fields carry their default beside their type.
///
/// The documentation of a field becomes the comment in `config.example.toml`, so it is written for the operator: what
/// the option does, and in which unit. `#[example = "..."]` after it is shown when the default says nothing (an empty
/// list).
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $(#[example = $example:literal])?
                pub $field:ident: $type:ty = $default:expr,
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl crate::config::section::Section for $name {
            const DOC: &'static [&'static str] = &[$($section_doc),*];

            fn options() -> Vec<crate::config::section::OptionDoc> {
                let defaults = Self::default();
                vec![$(
                    crate::config::section::OptionDoc {
                        key: stringify!($field),
                        doc: &[$($doc),*],
                        default: toml::Value::try_from(&defaults.$field).ok(),
                        example: crate::config::section::section!(@example $($example)?),
                    },
                )*]
            }
        }
    };
    (@example $example:literal) => { Some($example) };
    (@example) => { None };
}

pub(crate) use section;
