//! Letters of 4x5 pixels (M, N, W and similar ones may be 5 wide), for the words in games.

/// Words as a row of sprites of 8x5 pixels.
pub(super) struct Picture {
    pub(super) bytes: Vec<u8>,
    pub(super) columns: usize,
    pub(super) width: usize,
}

/// # Errors
/// A letter without a picture.
pub(super) fn picture(words: &str) -> Result<Picture, String> {
    let mut rows = [0_u128; 5];
    let mut width = 0;
    for letter in words.chars() {
        let (pixels, wide) = glyph(letter).ok_or_else(|| format!("unknown letter {letter:?}"))?;
        if width + wide > 128 {
            return Err(format!("{words:?} is wider than the screen"));
        }
        for (row, five) in rows.iter_mut().zip(pixels) {
            *row |= u128::from(five) << (123 - width.min(123));
        }
        width += wide + 1;
    }
    let width = width.saturating_sub(1);
    let columns = width.div_ceil(8);
    let bytes = (0..columns).flat_map(|column| rows.map(|row| (row >> (120 - 8 * column)) as u8)).collect();
    Ok(Picture { bytes, columns, width })
}

/// Five rows of five pixels, and the letter's width in columns.
#[rustfmt::skip]
fn glyph(letter: char) -> Option<([u8; 5], usize)> {
    let rows = match letter {
        ' ' => return Some(([0; 5], 2)),
        'A' => [0b01100, 0b10010, 0b11110, 0b10010, 0b10010],
        'B' => [0b11100, 0b10010, 0b11100, 0b10010, 0b11100],
        'C' => [0b01110, 0b10000, 0b10000, 0b10000, 0b01110],
        'D' => [0b11100, 0b10010, 0b10010, 0b10010, 0b11100],
        'E' => [0b11110, 0b10000, 0b11100, 0b10000, 0b11110],
        'F' => [0b11110, 0b10000, 0b11100, 0b10000, 0b10000],
        'G' => [0b01110, 0b10000, 0b10110, 0b10010, 0b01110],
        'H' => [0b10010, 0b10010, 0b11110, 0b10010, 0b10010],
        'I' => return Some(([0b11100, 0b01000, 0b01000, 0b01000, 0b11100], 3)),
        'J' => [0b00110, 0b00010, 0b00010, 0b10010, 0b01100],
        'K' => [0b10010, 0b10100, 0b11000, 0b10100, 0b10010],
        'L' => [0b10000, 0b10000, 0b10000, 0b10000, 0b11110],
        'M' => return Some(([0b10001, 0b11011, 0b10101, 0b10001, 0b10001], 5)),
        'N' => return Some(([0b10001, 0b11001, 0b10101, 0b10011, 0b10001], 5)),
        'O' => [0b01100, 0b10010, 0b10010, 0b10010, 0b01100],
        'P' => [0b11100, 0b10010, 0b11100, 0b10000, 0b10000],
        'Q' => [0b01100, 0b10010, 0b10010, 0b10110, 0b01110],
        'R' => [0b11100, 0b10010, 0b11100, 0b10100, 0b10010],
        'S' => [0b01110, 0b10000, 0b01100, 0b00010, 0b11100],
        'T' => return Some(([0b11111, 0b00100, 0b00100, 0b00100, 0b00100], 5)),
        'U' => [0b10010, 0b10010, 0b10010, 0b10010, 0b01100],
        'V' => return Some(([0b10001, 0b10001, 0b10001, 0b01010, 0b00100], 5)),
        'W' => return Some(([0b10001, 0b10001, 0b10101, 0b11011, 0b10001], 5)),
        'X' => return Some(([0b10001, 0b01010, 0b00100, 0b01010, 0b10001], 5)),
        'Y' => return Some(([0b10001, 0b01010, 0b00100, 0b00100, 0b00100], 5)),
        'Z' => [0b11110, 0b00010, 0b01100, 0b10000, 0b11110],
        '.' => return Some(([0, 0, 0, 0, 0b10000], 1)),
        '!' => return Some(([0b10000, 0b10000, 0b10000, 0, 0b10000], 1)),
        _ => return None,
    };
    Some((rows, 4))
}
