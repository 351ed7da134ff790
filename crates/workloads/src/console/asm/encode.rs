//! Encodes mnemonics and operands as opcodes.

use super::{Names, Pass};

/// A register, a number, or one of the special operands of `ld`.
enum Operand<'a> {
    Register(u16),
    Special(&'a str),
    Value(i32),
}

use Operand::{Register, Special, Value};

pub(super) fn instruction(word: &str, operands: &[&str], pass: Pass, names: &Names) -> Result<u16, String> {
    let operands = operands.iter().map(|text| operand(text, pass, names)).collect::<Result<Vec<_>, _>>()?;
    let opcode = match (word, operands.as_slice()) {
        ("cls", []) => 0x00E0,
        ("ret", []) => 0x00EE,
        ("scr", []) => 0x00FB,
        ("scl", []) => 0x00FC,
        ("exit", []) => 0x00FD,
        ("low", []) => 0x00FE,
        ("high", []) => 0x00FF,
        ("scd", [Value(n)]) => 0x00C0 | nibble(*n)?,
        ("jp", [Value(to)]) => 0x1000 | address(*to)?,
        ("jp", [Register(x), Value(to)]) if *x == 0 => 0xB000 | address(*to)?,
        ("call", [Value(to)]) => 0x2000 | address(*to)?,
        ("se", [Register(x), Value(kk)]) => 0x3000 | x << 8 | u16::from(byte(*kk)?),
        ("sne", [Register(x), Value(kk)]) => 0x4000 | x << 8 | u16::from(byte(*kk)?),
        ("se", [Register(x), Register(y)]) => 0x5000 | x << 8 | y << 4,
        ("ld", [Register(x), Value(kk)]) => 0x6000 | x << 8 | u16::from(byte(*kk)?),
        ("add", [Register(x), Value(kk)]) => 0x7000 | x << 8 | u16::from(byte(*kk)?),
        ("ld", [Register(x), Register(y)]) => 0x8000 | x << 8 | y << 4,
        ("or", [Register(x), Register(y)]) => 0x8001 | x << 8 | y << 4,
        ("and", [Register(x), Register(y)]) => 0x8002 | x << 8 | y << 4,
        ("xor", [Register(x), Register(y)]) => 0x8003 | x << 8 | y << 4,
        ("add", [Register(x), Register(y)]) => 0x8004 | x << 8 | y << 4,
        ("sub", [Register(x), Register(y)]) => 0x8005 | x << 8 | y << 4,
        // Shifts have one register, and the same meaning on every machine.
        ("shr", [Register(x)]) => 0x8006 | x << 8 | x << 4,
        ("subn", [Register(x), Register(y)]) => 0x8007 | x << 8 | y << 4,
        ("shl", [Register(x)]) => 0x800E | x << 8 | x << 4,
        ("sne", [Register(x), Register(y)]) => 0x9000 | x << 8 | y << 4,
        ("ld", [Special("i"), Value(to)]) => 0xA000 | address(*to)?,
        ("rnd", [Register(x), Value(kk)]) => 0xC000 | x << 8 | u16::from(byte(*kk)?),
        ("drw", [Register(x), Register(y), Value(n)]) => 0xD000 | x << 8 | y << 4 | nibble(*n)?,
        ("skp", [Register(x)]) => 0xE09E | x << 8,
        ("sknp", [Register(x)]) => 0xE0A1 | x << 8,
        ("ld", [Register(x), Special("dt")]) => 0xF007 | x << 8,
        ("ld", [Register(x), Special("k")]) => 0xF00A | x << 8,
        ("ld", [Special("dt"), Register(x)]) => 0xF015 | x << 8,
        ("ld", [Special("st"), Register(x)]) => 0xF018 | x << 8,
        ("add", [Special("i"), Register(x)]) => 0xF01E | x << 8,
        ("ld", [Special("f"), Register(x)]) => 0xF029 | x << 8,
        ("ld", [Special("hf"), Register(x)]) => 0xF030 | x << 8,
        ("ld", [Special("b"), Register(x)]) => 0xF033 | x << 8,
        ("ld", [Special("[i]"), Register(x)]) => 0xF055 | x << 8,
        ("ld", [Register(x), Special("[i]")]) => 0xF065 | x << 8,
        ("ld", [Special("r"), Register(x)]) => 0xF075 | x << 8,
        ("ld", [Register(x), Special("r")]) => 0xF085 | x << 8,
        _ => {
            return Err(format!("unknown instruction: {word} with {} operands of these kinds", operands.len()));
        }
    };
    Ok(opcode)
}

fn operand<'a>(text: &'a str, pass: Pass, names: &Names) -> Result<Operand<'a>, String> {
    if let Some(register) = names.register(text) {
        return Ok(Register(register));
    }
    match text {
        "i" | "[i]" | "dt" | "st" | "k" | "f" | "hf" | "b" | "r" => Ok(Special(text)),
        _ => names.value(text, pass).map(Value),
    }
}

/// A byte from -128 to 255: negative numbers as two's complement.
pub(super) fn byte(value: i32) -> Result<u8, String> {
    match value {
        -128..=-1 => Ok((value + 256) as u8),
        0..=255 => Ok(value as u8),
        _ => Err(format!("{value} does not fit into a byte")),
    }
}

fn nibble(value: i32) -> Result<u16, String> {
    u16::try_from(value).ok().filter(|value| *value < 16).ok_or_else(|| format!("{value} is not between 0 and 15"))
}

fn address(value: i32) -> Result<u16, String> {
    u16::try_from(value).ok().filter(|value| *value < 4096).ok_or_else(|| format!("{value} is not an address"))
}
