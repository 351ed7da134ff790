//! The paper a picture is drawn on: a plot as wide as the reader's screen, between two margins of fixed width. Parts are
//! added from the top down.

use super::scale::part;
use super::words::Escaped;

#[derive(Default)]
pub(super) struct Sheet {
    /// Names and numbers of what is beside them in the plot.
    pub(super) left: String,
    pub(super) plot: String,
    /// In the plot, over everything else.
    pub(super) front: String,
    /// Names of the lines that end there.
    pub(super) right: String,
    /// Pixels used so far.
    pub(super) height: u32,
    /// What the marks on it mean.
    pub(super) key: String,
    /// What a reader has to know about what is (not) drawn.
    pub(super) notes: Vec<String>,
}

impl Sheet {
    /// Takes so many pixels and says where they begin.
    pub(super) fn take(&mut self, pixels: u32) -> u32 {
        let top = self.height;
        self.height += pixels;
        top
    }

    /// A line of its own above what follows.
    pub(super) fn heading(&mut self, text: &str) {
        let top = self.take(26);
        self.front += &format!("<text class=\"over\" x=\"0\" y=\"{}\">{}</text>\n", top + 16, Escaped(text));
    }

    /// In the left margin, on the line whose middle is `y`.
    pub(super) fn beside(&mut self, y: u32, text: &str) {
        self.left += &format!("<text x=\"100%\" dx=\"-8\" y=\"{}\">{}</text>\n", y + 4, Escaped(text));
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// The attributes of a box.
pub(super) fn rect(class: &str, from: u32, to: u32, y: u32, height: u32) -> String {
    let width = part(to.saturating_sub(from));
    format!("<rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>", part(from))
}
