//! The waiting room as HTML.
