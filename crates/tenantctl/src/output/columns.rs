//! What is shown of a thing: columns over its JSON.
//!
//! Deliberately without the thing itself: a column says where to look. Invariant: a table of columns that is
//! declared here shows nothing that its view does not have; each has a test of that.

/// How a value is shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Plain,
    Time,
    Bytes,
    /// Coloured by whether it is good.
    State,
}

/// A part of a thing that is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(super) title: &'a str,
    /// JSON pointer.
    pub(super) pointer: &'a str,
    /// Where it is looked for when there is nothing at the first place.
    pub(super) other: Option<&'a str>,
    pub(super) show: Show,
}

impl<'a> Column<'a> {
    /// Whether it shows what this JSON pointer points to.
    pub(crate) fn shows(&self, pointer: &str) -> bool {
        self.pointer == pointer
    }

    const fn new(title: &'a str, pointer: &'a str, show: Show) -> Self {
        Self {
            title,
            pointer,
            other: None,
            show,
        }
    }

    /// Looked for there too.
    pub(crate) const fn or(mut self, pointer: &'a str) -> Self {
        self.other = Some(pointer);
        self
    }
}

/// A value as it is.
pub(crate) const fn plain<'a>(title: &'a str, pointer: &'a str) -> Column<'a> {
    Column::new(title, pointer, Show::Plain)
}

/// A time.
pub(crate) const fn time<'a>(title: &'a str, pointer: &'a str) -> Column<'a> {
    Column::new(title, pointer, Show::Time)
}

/// A size in bytes.
pub(crate) const fn bytes<'a>(title: &'a str, pointer: &'a str) -> Column<'a> {
    Column::new(title, pointer, Show::Bytes)
}

/// A state, status or verdict.
pub(crate) const fn state<'a>(title: &'a str, pointer: &'a str) -> Column<'a> {
    Column::new(title, pointer, Show::State)
}

/// Tables of columns, each with the name of the schema that describes what it shows.
macro_rules! columns {
    ($(
        $(#[$doc:meta])*
        $visible:vis const $name:ident: $view:literal = [$($column:expr),+ $(,)?];
    )+) => {$(
        $(#[$doc])*
        $visible const $name: &[$crate::output::Column<'_>] = &[$($column),+];

        #[cfg(test)]
        #[expect(non_snake_case, reason = "it has the name of what it tests")]
        mod $name {
            #[test]
            fn shows_what_its_view_has() {
                $crate::output::described::check($view, super::$name);
            }
        }
    )+};
}
pub(crate) use columns;
