//! Every opcode, every quirk, and invalid programs.

use super::snapshot::Snapshot;
use super::*;

fn run(words: &[u16], quirks: Quirks) -> Machine {
    let rom: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let mut machine = Machine::new(&rom, quirks, 7).expect("a ROM");
    machine.frame(words.len() as u32);
    machine
}

fn after(words: &[u16]) -> Machine {
    run(words, Quirks::SUPER)
}

#[test]
fn numbers_are_loaded_added_and_compared() {
    let machine = after(&[0x6005, 0x70FF, 0x8100, 0x3004, 0x62AA, 0x4104, 0x6355, 0x5010, 0x64AA, 0x9010, 0x6566]);
    assert_eq!(machine.v[..6], [4, 4, 0, 0x55, 0, 0x66]);
}

#[test]
fn arithmetic_sets_the_flag() {
    for (n, a, b, result, flag) in [
        (0x4, 200, 100, 44, 1),
        (0x4, 1, 2, 3, 0),
        (0x5, 5, 5, 0, 1),
        (0x5, 5, 6, 255, 0),
        (0x6, 3, 0, 1, 1),
        (0x7, 5, 5, 0, 1),
        (0x7, 6, 5, 255, 0),
        (0xE, 0x81, 0, 2, 1),
    ] {
        let machine = after(&[0x6000 | a, 0x6100 | b, 0x8010 | n]);
        assert_eq!((machine.v[0], machine.v[0xF]), (result, flag), "8XY{n:X} of {a} and {b}");
    }
    // The flag takes precedence if VF is the target.
    assert_eq!(after(&[0x6FFF, 0x6101, 0x8F14]).v[0xF], 1);
    assert_eq!(after(&[0x6005, 0x6103, 0x8011, 0x6205, 0x8212, 0x6305, 0x8313]).v[..4], [7, 3, 1, 6]);
}

#[test]
fn quirks_make_the_difference() {
    let logic = [0x6F01, 0x8011];
    assert_eq!((run(&logic, Quirks::VIP).v[0xF], run(&logic, Quirks::SUPER).v[0xF]), (0, 1));
    let shift = [0x6001, 0x6110, 0x8016];
    assert_eq!((run(&shift, Quirks::VIP).v[0], run(&shift, Quirks::SUPER).v[0]), (8, 0));
    let memory = [0xA300, 0xF255];
    assert_eq!((run(&memory, Quirks::VIP).index, run(&memory, Quirks::SUPER).index), (0x303, 0x300));
    let jump = [0x6002, 0x6104, 0xB100];
    assert_eq!((run(&jump, Quirks::VIP).counter, run(&jump, Quirks::SUPER).counter), (0x102, 0x104));
    let mut vip = run(&[0xD001, 0x1200], Quirks::VIP);
    assert_eq!((vip.frame(10), vip.frame(10)), (2, 2));
    assert_eq!(run(&[0xD001, 0x1200], Quirks::SUPER).frame(10), 10);
}

#[test]
fn calls_return() {
    // 200: call 206; 202: v1 = 1; 204: jump to itself; 206: v0 = 9; 208: return
    let machine = after(&[0x2206, 0x6101, 0x1204, 0x6009, 0x00EE]);
    assert_eq!((machine.v[0], machine.v[1], machine.depth), (9, 1, 0));
}

#[test]
fn sprites_flip_pixels_wrap_and_are_clipped() {
    let mut machine = after(&[0x603E, 0x611F, 0xA20A, 0xD012, 0x1208, 0xF0F0]);
    let pixels: Vec<_> = (0..64).flat_map(|x| (0..32).map(move |y| (x, y))).collect();
    let on: Vec<_> = pixels.iter().filter(|(x, y)| machine.screen.pixel(*x, *y)).collect();
    assert_eq!(on, [&(62, 31), &(63, 31)]);
    assert_eq!(machine.v[0xF], 0);
    machine.counter = 0x206;
    machine.frame(1);
    assert_eq!((machine.v[0xF], machine.screen.packed().max()), (1, Some(0)));
    // 64 is 0
    assert!(after(&[0x6040, 0x6120, 0xF229, 0xD015]).screen.pixel(0, 0));
}

#[test]
fn large_screen_scrolls() {
    let draw = [0x00FF, 0xA20C, 0xD000];
    let with = |word: u16| after(&[draw[0], draw[1], draw[2], word, 0x1208, 0, 0x8000]);
    assert!(with(0x00C3).screen.pixel(0, 3) && !with(0x00C3).screen.pixel(0, 0));
    assert!(with(0x00FB).screen.pixel(4, 0) && !with(0x00FB).screen.pixel(0, 0));
    assert!(!with(0x00FC).screen.pixel(0, 0));
    assert_eq!(with(0x00FE).screen.packed().count(), 256);
    assert_eq!(with(0x1208).screen.packed().count(), 1024);
}

#[test]
fn memory_decimals_fonts_and_flags() {
    let machine = after(&[0x60FE, 0xA300, 0xF033, 0xF265, 0xF375, 0x6000, 0x6100, 0xF185, 0xF129]);
    assert_eq!(machine.v[..3], [2, 5, 4]);
    assert_eq!(machine.index, FONT_AT as u16 + 25);
    assert_eq!(after(&[0x6002, 0xF030]).index, BIG_FONT_AT as u16 + 20);
    assert_eq!(after(&[0x6002, 0xAFFF, 0xF01E]).index, 0x1001);
}

#[test]
fn timers_count_frames() {
    let mut machine = after(&[0x6003, 0xF015, 0xF018, 0x1206]);
    assert!(machine.sounds());
    for _ in 0..3 {
        machine.frame(1);
    }
    assert_eq!((machine.delay, machine.sounds()), (0, false));
}

#[test]
fn a_key_counts_when_it_is_released() {
    let mut machine = after(&[0xF00A, 0x1202]);
    machine.press(1 << 9);
    machine.frame(5);
    machine.frame(5);
    assert_eq!(machine.counter, START);
    machine.press(0);
    machine.frame(5);
    assert_eq!((machine.v[0], machine.counter), (9, START + 2));
}

#[test]
fn keys_skip() {
    let mut machine = Machine::new(&[0xE0, 0x9E, 0x12, 0x00, 0xE0, 0xA1, 0x12, 0x06], Quirks::VIP, 0).expect("a ROM");
    machine.frame(4);
    assert_eq!(machine.counter, START);
    machine.press(1);
    machine.frame(2);
    assert_eq!(machine.counter, START + 6);
}

#[test]
fn errors_halt_the_machine_with_a_reason() {
    let reason = |words: &[u16]| after(words).halt().map(|halt| halt.to_string()).unwrap_or_default();
    assert_eq!(reason(&[0x0000]), "invalid instruction 0x0000 at 0x200");
    assert_eq!(reason(&[0xF0FF]), "invalid instruction 0xf0ff at 0x200");
    assert_eq!(reason(&[0x5001]), "invalid instruction 0x5001 at 0x200");
    assert_eq!(reason(&[0x00EE]), "return without a call at 0x200");
    assert_eq!(reason(&[0x1FFF, 0]), "the program ran out of memory at 0xfff");
    assert_eq!(reason(&[0x2200; 20]), "more than 16 nested calls at 0x200");
    assert_eq!(reason(&[0x00FD]), "the game ended");
    assert_eq!(after(&[0x00FD]).frame(10), 0);
}

#[test]
fn roms_have_limits() {
    assert_eq!(Machine::new(&[], Quirks::VIP, 0), Err(RomError::Empty));
    assert_eq!(Machine::new(&[0; ROM_LIMIT + 1], Quirks::VIP, 0), Err(RomError::TooLarge(3585)));
    assert!(Machine::new(&[0; ROM_LIMIT], Quirks::VIP, 0).is_ok());
}

#[test]
fn random_bytes_never_panic_and_the_same_seed_gives_the_same_result() {
    let mut noise = Machine::new(&[0], Quirks::VIP, 42).expect("a ROM");
    for round in 0..800_u64 {
        let length = 1 + usize::from(noise.next_random()) * usize::from(noise.next_random() % 14);
        let rom: Vec<u8> = (0..length).map(|_| noise.next_random()).collect();
        let quirks = if round % 2 == 0 { Quirks::VIP } else { Quirks::SUPER };
        let mut one = Machine::new(&rom, quirks, round).expect("a ROM");
        let mut other = one.clone();
        for frame in 0..30_u16 {
            let keys = frame.wrapping_mul(0x1357);
            one.press(keys);
            other.press(keys);
            one.frame(100);
            other.frame(100);
        }
        assert_eq!(one, other);
        let text = serde_json::to_string(&one.snapshot()).expect("JSON");
        let snapshot: Snapshot = serde_json::from_str(&text).expect("the same JSON");
        let mut again = Machine::restore(&snapshot, quirks).expect("a machine");
        again.frame(100);
    }
}

#[test]
fn a_restored_snapshot_continues_like_the_machine() {
    let mut machine = after(&[0xC0FF, 0x8104, 0xF033, 0xD125, 0x1200]);
    machine.frame(33);
    let mut again = Machine::restore(&machine.snapshot(), Quirks::SUPER).expect("a machine");
    assert_eq!(again, machine);
    assert_eq!((machine.frame(50), again.frame(50)), (50, 50));
    assert_eq!(again, machine);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let good = serde_json::to_value(after(&[0x1200]).snapshot()).expect("JSON");
    for (part, value) in [
        ("memory", "\"00\""),
        ("registers", "\"zz\""),
        ("flags", "\"é\""),
        ("screen", "\"0\""),
        ("stack", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"),
        ("counter", "65535"),
    ] {
        let mut bad = good.clone();
        bad[part] = serde_json::from_str(value).expect("JSON");
        let snapshot: Snapshot = serde_json::from_value(bad).expect("the right shape");
        assert!(Machine::restore(&snapshot, Quirks::VIP).is_err(), "{part}");
    }
}
