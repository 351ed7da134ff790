//! The drawing area of a picture: a plot as wide as the screen, between two margins of fixed width. Parts are added
//! from top to bottom.

use super::scale::part;
use super::words::Escaped;

#[derive(Default)]
pub(super) struct Sheet {
    /// Names and numbers beside parts of the plot.
    pub(super) left: String,
    pub(super) plot: String,
    /// In the plot, in front of everything else.
    pub(super) front: String,
    /// Names of the lines that end at the right edge.
    pub(super) right: String,
    /// Pixels used so far.
    pub(super) height: u32,
    /// The legend of the marks.
    pub(super) key: String,
    /// Notes about what is and is not drawn.
    pub(super) notes: Vec<String>,
}

impl Sheet {
    /// Reserves this many pixels, and returns where they begin.
    pub(super) fn take(&mut self, pixels: u32) -> u32 {
        let top = self.height;
        self.height += pixels;
        top
    }

    /// Adds a heading above the next part.
    pub(super) fn heading(&mut self, text: &str) {
        let top = self.take(26);
        self.front += &format!("<text class=\"over\" x=\"0\" y=\"{}\">{}</text>\n", top + 16, Escaped(text));
    }

    /// Adds a label in the left margin, on the line whose middle is `y`.
    pub(super) fn beside(&mut self, y: u32, text: &str) {
        self.left += &format!("<text x=\"100%\" dx=\"-8\" y=\"{}\">{}</text>\n", y + 4, Escaped(text));
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Returns a box.
pub(super) fn rect(class: &str, from: u32, to: u32, y: u32, height: u32) -> String {
    let width = part(to.saturating_sub(from));
    format!("<rect class=\"{class}\" x=\"{}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>", part(from))
}
