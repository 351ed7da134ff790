//! Every instruction of the assembler, and its errors.

use super::*;

#[test]
fn every_instruction_has_its_opcode() {
    for (line, opcode) in [
        ("cls", 0x00E0),
        ("ret", 0x00EE),
        ("scd 4", 0x00C4),
        ("scr", 0x00FB),
        ("scl", 0x00FC),
        ("exit", 0x00FD),
        ("low", 0x00FE),
        ("high", 0x00FF),
        ("jp 0x234", 0x1234),
        ("call 0x234", 0x2234),
        ("se v1, 2", 0x3102),
        ("sne v1, 0xFF", 0x41FF),
        ("se v1, v2", 0x5120),
        ("ld v1, 2", 0x6102),
        ("add v1, -1", 0x71FF),
        ("ld v1, va", 0x81A0),
        ("or v1, v2", 0x8121),
        ("and v1, v2", 0x8122),
        ("xor v1, v2", 0x8123),
        ("add v1, v2", 0x8124),
        ("sub v1, v2", 0x8125),
        ("shr v1", 0x8116),
        ("subn v1, v2", 0x8127),
        ("shl v1", 0x811E),
        ("sne v1, v2", 0x9120),
        ("ld i, 0x234", 0xA234),
        ("jp v0, 0x234", 0xB234),
        ("rnd v1, 0b11", 0xC103),
        ("drw v1, v2, 5", 0xD125),
        ("skp vf", 0xEF9E),
        ("sknp v1", 0xE1A1),
        ("ld v1, dt", 0xF107),
        ("ld v1, k", 0xF10A),
        ("ld dt, v1", 0xF115),
        ("ld st, v1", 0xF118),
        ("add i, v1", 0xF11E),
        ("ld f, v1", 0xF129),
        ("ld hf, v1", 0xF130),
        ("ld b, v1", 0xF133),
        ("ld [i], v1", 0xF155),
        ("ld v1, [i]", 0xF165),
        ("ld r, v1", 0xF175),
        ("ld v1, r", 0xF185),
    ] {
        let program = assemble(line).expect(line);
        assert_eq!(program.rom, u16::to_be_bytes(opcode), "{line}");
    }
}

#[test]
fn names_labels_and_data() {
    let source = "
        .title \"A; b\" ; a comment
        .speed 30
        three = 3
        ball = v5
        jp go
        data: \n db three, -1, \"#......#\", three + 2 - 1
        go:
        ld ball, three
        ld i, data + 1
        ds 2
        text hi \"HI\"
        drw v0, v1, hi_columns
    ";
    let program = assemble(source).expect("a program");
    assert_eq!((program.title.as_str(), program.speed), ("A; b", Some(30)));
    let rom = [0x12, 0x06, 3, 255, 0x81, 4, 0x65, 3, 0xA2, 3, 0, 0, 0x97, 0x92, 0xF2, 0x92, 0x97, 0xD0, 0x11];
    assert_eq!(program.rom, rom);
}

#[test]
fn errors_name_the_line() {
    for (source, complaint) in [
        ("cls\n jump 3", "line 2: unknown instruction: jump with 1 operands of these kinds"),
        ("ld v0, 256", "line 1: 256 does not fit into a byte"),
        ("jp nowhere", "line 1: unknown name nowhere"),
        ("a:\na:", "line 2: a is defined twice"),
        ("db \"##\"", "line 1: \"##\" is not eight or sixteen of '.' and '#'"),
        ("text t \"a\"", "line 1: unknown letter 'a'"),
        ("ds 4000", "line 1: bad length"),
        ("ds 3584\ncls", "line 2: the program exceeds 3584 bytes"),
        ("1a = 3", "line 1: 1a cannot be a name"),
        ("ld v0, 1 +", "line 1: 1 + is not a value"),
    ] {
        let error = assemble(source).expect_err(source);
        assert_eq!(error.to_string(), complaint);
    }
}
