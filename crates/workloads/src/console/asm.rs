//! A small assembler for CHIP-8, with Cowgod's mnemonics, so that the built-in games are sources and not blobs.
//!
//! ```text
//! ; a comment
//! .title "Bricks"          the title in the menu; also .about "..." and .speed 60 (instructions per frame)
//! speed = 3                a number with a name
//! ball_x = v5              a register with a name
//! again:                   a label
//!     ld v0, speed + 1     numbers: 12, 0x0C, 0b1100, 'label', sums and differences of them
//!     drw ball_x, v1, 4
//!     db 1, 2, "..##..##"  bytes; a string of '.' and '#' is eight (or sixteen) pixels
//!     ds 80                this many zeros
//!     text over "THE END"  the words as sprites of 8x5 pixels: `over_columns` of them; `over_x` is the column at which
//!                          they are centred in 128 pixels
//! ```

use std::collections::HashMap;

mod encode;
mod letters;
#[cfg(test)]
mod tests;

use super::chip8::{ROM_LIMIT, START};

/// An assembled source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The game's name in the menu, from the source's `.title`.
    pub title: String,
    /// One line on how it is played, from `.about`.
    pub about: String,
    /// Instructions per frame.
    pub speed: Option<u32>,
    /// The instructions and data from address 0x200 on.
    pub rom: Vec<u8>,
}

/// An error in a source, and its line (counted from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SourceError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what is allowed.
    pub what: String,
}

/// Assembles a source.
///
/// # Errors
/// The first error in the source.
pub fn assemble(source: &str) -> Result<Program, SourceError> {
    let mut program = Program::default();
    let mut names = Names::default();
    // The first pass collects the labels, the second uses them.
    for pass in [Pass::Collect, Pass::Emit] {
        program = Program::default();
        for (number, line) in source.lines().enumerate() {
            statement(line, pass, &mut names, &mut program).map_err(|what| SourceError { line: number + 1, what })?;
            if program.rom.len() > ROM_LIMIT {
                return Err(SourceError { line: number + 1, what: format!("the program exceeds {ROM_LIMIT} bytes") });
            }
        }
    }
    Ok(program)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Collect,
    Emit,
}

/// Named labels, numbers and registers.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, i32>,
    registers: HashMap<String, u16>,
}

fn statement(line: &str, pass: Pass, names: &mut Names, program: &mut Program) -> Result<(), String> {
    let line = without_comment(line).trim();
    let here = i32::from(START) + program.rom.len() as i32;
    if line.is_empty() {
        return Ok(());
    }
    if let Some(label) = line.strip_suffix(':') {
        return names.number(label.trim(), here, pass);
    }
    if !line.contains('"')
        && let Some((name, value)) = line.split_once('=')
    {
        return names.define(name.trim(), value.trim(), pass);
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        ".title" => program.title = quoted(rest)?.to_owned(),
        ".about" => program.about = quoted(rest)?.to_owned(),
        ".speed" => program.speed = Some(names.value(rest, Pass::Emit)?.unsigned_abs()),
        "ds" => {
            let length = names.value(rest, Pass::Emit)?;
            let length = usize::try_from(length).ok().filter(|length| *length <= ROM_LIMIT).ok_or("bad length")?;
            program.rom.resize(program.rom.len() + length, 0);
        }
        "db" => {
            for item in rest.split(',').map(str::trim) {
                bytes(item, pass, names, &mut program.rom)?;
            }
        }
        "text" => {
            let (name, words) = rest.split_once(char::is_whitespace).ok_or("text needs a name and words")?;
            let picture = letters::picture(quoted(words.trim())?)?;
            names.number(name, here, pass)?;
            names.number(&format!("{name}_columns"), picture.columns as i32, pass)?;
            names.number(&format!("{name}_x"), (128 - picture.width as i32) / 2, pass)?;
            program.rom.extend(picture.bytes);
        }
        _ => {
            let operands: Vec<&str> = rest.split(',').map(str::trim).filter(|operand| !operand.is_empty()).collect();
            let opcode = encode::instruction(word, &operands, pass, names)?;
            program.rom.extend(opcode.to_be_bytes());
        }
    }
    Ok(())
}

fn without_comment(line: &str) -> &str {
    let mut in_quotes = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => in_quotes = !in_quotes,
            ';' if !in_quotes => return &line[..at],
            _ => {}
        }
    }
    line
}

fn quoted(text: &str) -> Result<&str, String> {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(|| format!("{text} is not in quotes"))
}

fn bytes(item: &str, pass: Pass, names: &Names, rom: &mut Vec<u8>) -> Result<(), String> {
    let Ok(pixels) = quoted(item) else {
        let value = names.value(item, pass)?;
        rom.push(encode::byte(value)?);
        return Ok(());
    };
    if pixels.is_empty() || pixels.len() % 8 != 0 || pixels.chars().any(|pixel| pixel != '.' && pixel != '#') {
        return Err(format!("{item} is not eight or sixteen of '.' and '#'"));
    }
    let pixels: Vec<u8> = pixels.bytes().map(|pixel| u8::from(pixel == b'#')).collect();
    rom.extend(pixels.chunks_exact(8).map(|eight| eight.iter().fold(0, |byte, pixel| byte << 1 | pixel)));
    Ok(())
}

impl Names {
    fn define(&mut self, name: &str, value: &str, pass: Pass) -> Result<(), String> {
        let Some(register) = self.register(value) else {
            let value = self.value(value, Pass::Emit)?;
            return self.number(name, value, pass);
        };
        if !is_name(name) {
            return Err(format!("{name} cannot be a name"));
        }
        self.registers.insert(name.to_owned(), register);
        Ok(())
    }

    fn number(&mut self, name: &str, value: i32, pass: Pass) -> Result<(), String> {
        if !is_name(name) {
            return Err(format!("{name} cannot be a name"));
        }
        match self.numbers.insert(name.to_owned(), value) {
            Some(_) if pass == Pass::Collect => Err(format!("{name} is defined twice")),
            _ => Ok(()),
        }
    }

    fn register(&self, text: &str) -> Option<u16> {
        if let Some(register) = self.registers.get(text) {
            return Some(*register);
        }
        let digit = text.strip_prefix('v').filter(|digit| digit.len() == 1)?;
        u16::from_str_radix(digit, 16).ok()
    }

    /// The value of `1`, `label`, `label + 2 - one`. In the collecting pass, an unknown name counts as 0.
    fn value(&self, text: &str, pass: Pass) -> Result<i32, String> {
        let mut total: i32 = 0;
        let mut sign = 1;
        let mut term = String::new();
        for letter in text.chars().chain(['+']) {
            match letter {
                '+' | '-' => {
                    if !term.trim().is_empty() {
                        total = total.saturating_add(sign * self.term(term.trim(), pass)?);
                        sign = 1;
                    } else if letter == '+' {
                        return Err(format!("{text} is not a value"));
                    }
                    if letter == '-' {
                        sign = -1;
                    }
                    term.clear();
                }
                _ => term.push(letter),
            }
        }
        Ok(total)
    }

    fn term(&self, term: &str, pass: Pass) -> Result<i32, String> {
        let number = if let Some(digits) = term.strip_prefix("0x") {
            i32::from(u16::from_str_radix(digits, 16).map_err(|_| format!("{term} is not a number"))?)
        } else if let Some(digits) = term.strip_prefix("0b") {
            i32::from(u16::from_str_radix(digits, 2).map_err(|_| format!("{term} is not a number"))?)
        } else if term.starts_with(|first: char| first.is_ascii_digit()) {
            i32::from(term.parse::<u16>().map_err(|_| format!("{term} is not a number"))?)
        } else {
            match (self.numbers.get(term), pass) {
                (Some(value), _) => *value,
                (None, Pass::Collect) if is_name(term) => 0,
                (None, _) => return Err(format!("unknown name {term}")),
            }
        };
        Ok(number)
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
