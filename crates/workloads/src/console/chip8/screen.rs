//! The screen: 64x32 or 128x64 pixels that are on or off. A row is one `u128` with the leftmost pixel in the highest bit, so
//! that drawing, clipping and scrolling are shifts.

/// The machine's screen. In low resolution only the upper 32 rows and the left 64 columns are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    large: bool,
    rows: Rows,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows([u128; 64]);

impl Default for Rows {
    fn default() -> Rows {
        Rows([0; 64])
    }
}

impl Screen {
    /// 128x64 rather than 64x32.
    pub fn is_large(&self) -> bool {
        self.large
    }

    /// Returns the number of columns in pixels.
    pub fn width(&self) -> usize {
        if self.large { 128 } else { 64 }
    }

    /// Returns the number of rows in pixels.
    pub fn height(&self) -> usize {
        if self.large { 64 } else { 32 }
    }

    /// Whether the pixel is on; false outside of the screen.
    pub fn pixel(&self, x: usize, y: usize) -> bool {
        x < self.width() && y < self.height() && self.rows.0[y] << x >> 127 == 1
    }

    /// The pixels row by row, eight per byte, leftmost pixel in the highest bit: 256 or 1024 bytes.
    pub fn packed(&self) -> impl Iterator<Item = u8> {
        let bytes = self.width() / 8;
        self.rows.0.iter().take(self.height()).flat_map(move |row| row.to_be_bytes().into_iter().take(bytes))
    }

    /// Restores a screen from [`Screen::packed`]; `None` if the length fits neither size.
    pub fn unpack(bytes: &[u8]) -> Option<Screen> {
        let large = match bytes.len() {
            256 => false,
            1024 => true,
            _ => return None,
        };
        let mut screen = Screen { large, rows: Rows::default() };
        let width = screen.width() / 8;
        for (row, bytes) in screen.rows.0.iter_mut().zip(bytes.chunks_exact(width)) {
            *row = bytes.iter().enumerate().fold(0, |row, (at, byte)| row | u128::from(*byte) << (120 - 8 * at));
        }
        Some(screen)
    }

    pub(super) fn clear(&mut self) {
        self.rows = Rows::default();
    }

    pub(super) fn resize(&mut self, large: bool) {
        self.large = large;
        self.clear();
    }

    /// Flips the pixels of one row of a sprite; returns whether one of them was on. `row` has its pixels in the highest
    /// bits. Pixels right of the screen are clipped.
    pub(super) fn toggle(&mut self, row: u128, x: usize, y: usize) -> bool {
        if x >= self.width() || y >= self.height() {
            return false;
        }
        let row = (row >> x) & self.mask();
        let hit = self.rows.0[y] & row != 0;
        self.rows.0[y] ^= row;
        hit
    }

    pub(super) fn scroll_down(&mut self, by: usize) {
        let height = self.height();
        self.rows.0.copy_within(0..height.saturating_sub(by), by.min(height));
        self.rows.0[..by.min(height)].fill(0);
    }

    pub(super) fn scroll_right(&mut self) {
        let mask = self.mask();
        self.rows.0.iter_mut().for_each(|row| *row = (*row >> 4) & mask);
    }

    pub(super) fn scroll_left(&mut self) {
        self.rows.0.iter_mut().for_each(|row| *row <<= 4);
    }

    fn mask(&self) -> u128 {
        if self.large { u128::MAX } else { u128::MAX << 64 }
    }
}

#[cfg(test)]
impl std::fmt::Display for Screen {
    /// The picture in characters, for failing tests and for debugging games.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for y in (0..self.height()).step_by(2) {
            for x in 0..self.width() {
                f.write_str(match (self.pixel(x, y), self.pixel(x, y + 1)) {
                    (true, true) => "█",
                    (true, false) => "▀",
                    (false, true) => "▄",
                    (false, false) => " ",
                })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
