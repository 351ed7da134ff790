//! Executes one instruction: fetch, decode, execute. Mnemonics in the comments are Cowgod's.

use super::{BIG_FONT_AT, FONT_AT, Halt, MEMORY, Machine, STACK};

/// How a frame continues after an instruction.
pub(super) enum Next {
    Go,
    /// The frame ends here: waiting for a key or for the vertical blank.
    EndFrame,
}

impl Machine {
    pub(super) fn step(&mut self) -> Result<Next, Halt> {
        let at = self.counter;
        if usize::from(at) + 1 >= MEMORY {
            return Err(Halt::OutsideMemory { at });
        }
        let opcode = u16::from_be_bytes([self.read(at), self.read(at + 1)]);
        self.counter += 2;
        let x = usize::from(opcode >> 8 & 0xF);
        let y = usize::from(opcode >> 4 & 0xF);
        let n = (opcode & 0xF) as u8;
        let byte = (opcode & 0xFF) as u8;
        let address = opcode & 0xFFF;
        let invalid = Err(Halt::Invalid { opcode, at });

        match opcode >> 12 {
            0x0 => match address {
                0x0E0 => self.screen.clear(),                             // CLS
                0x0EE => self.ret(at)?,                                   // RET
                0x0C0..=0x0CF => self.screen.scroll_down(usize::from(n)), // SCD n
                0x0FB => self.screen.scroll_right(),                      // SCR
                0x0FC => self.screen.scroll_left(),                       // SCL
                0x0FD => return Err(Halt::Exit),                          // EXIT
                0x0FE => self.screen.resize(false),                       // LOW
                0x0FF => self.screen.resize(true),                        // HIGH
                _ => return invalid,                                      // SYS: native code of the original machine
            },
            0x1 => self.counter = address,                         // JP addr
            0x2 => self.call(address, at)?,                        // CALL addr
            0x3 => self.skip_if(self.v[x] == byte),                // SE Vx, byte
            0x4 => self.skip_if(self.v[x] != byte),                // SNE Vx, byte
            0x5 if n == 0 => self.skip_if(self.v[x] == self.v[y]), // SE Vx, Vy
            0x6 => self.v[x] = byte,                               // LD Vx, byte
            0x7 => self.v[x] = self.v[x].wrapping_add(byte),       // ADD Vx, byte
            0x8 if n <= 7 || n == 0xE => self.arithmetic(x, y, n),
            0x9 if n == 0 => self.skip_if(self.v[x] != self.v[y]), // SNE Vx, Vy
            0xA => self.index = address,                           // LD I, addr
            0xB => {
                // JP V0, addr
                let from = if self.quirks.jump_adds_x { x } else { 0 };
                self.counter = address + u16::from(self.v[from]);
            }
            0xC => self.v[x] = self.next_random() & byte, // RND Vx, byte
            0xD => return Ok(self.draw(x, y, n)),         // DRW Vx, Vy, n
            0xE => match byte {
                0x9E => self.skip_if(self.is_down(self.v[x])),  // SKP Vx
                0xA1 => self.skip_if(!self.is_down(self.v[x])), // SKNP Vx
                _ => return invalid,
            },
            0xF => match byte {
                0x07 => self.v[x] = self.delay,                                           // LD Vx, DT
                0x0A => return Ok(self.wait_for_key(x, at)),                              // LD Vx, K
                0x15 => self.delay = self.v[x],                                           // LD DT, Vx
                0x18 => self.sound = self.v[x],                                           // LD ST, Vx
                0x1E => self.index = self.index.wrapping_add(u16::from(self.v[x])),       // ADD I, Vx
                0x29 => self.index = FONT_AT as u16 + 5 * u16::from(self.v[x] & 0xF),     // LD F, Vx
                0x30 => self.index = BIG_FONT_AT as u16 + 10 * u16::from(self.v[x] % 10), // LD HF, Vx
                0x33 => self.decimal(self.v[x]),                                          // LD B, Vx
                0x55 => self.store(x),                                                    // LD [I], Vx
                0x65 => self.load(x),                                                     // LD Vx, [I]
                0x75 => self.flags[..=x].copy_from_slice(&self.v[..=x]),                  // LD R, Vx
                0x85 => self.v[..=x].copy_from_slice(&self.flags[..=x]),                  // LD Vx, R
                _ => return invalid,
            },
            _ => return invalid,
        }
        Ok(Next::Go)
    }

    /// 8XYN. The flag is written last, so that VF as a target loses its result, as on the VIP.
    fn arithmetic(&mut self, x: usize, y: usize, n: u8) {
        let (a, b) = (self.v[x], self.v[y]);
        let shifted = if self.quirks.shift_reads_y { b } else { a };
        let kept = if self.quirks.logic_clears_flag { Some(0) } else { None };
        let (result, flag) = match n {
            0x0 => (b, None),                                                       // LD Vx, Vy
            0x1 => (a | b, kept),                                                   // OR
            0x2 => (a & b, kept),                                                   // AND
            0x3 => (a ^ b, kept),                                                   // XOR
            0x4 => (a.wrapping_add(b), Some(u8::from(a.checked_add(b).is_none()))), // ADD
            0x5 => (a.wrapping_sub(b), Some(u8::from(a >= b))),                     // SUB
            0x6 => (shifted >> 1, Some(shifted & 1)),                               // SHR
            0x7 => (b.wrapping_sub(a), Some(u8::from(b >= a))),                     // SUBN
            _ => (shifted << 1, Some(shifted >> 7)),                                // SHL
        };
        self.v[x] = result;
        if let Some(flag) = flag {
            self.v[0xF] = flag;
        }
    }

    /// DXYN: the position wraps around, the sprite is clipped. DXY0 is a 16x16 sprite (SUPER-CHIP). VF is 0 or 1, also in
    /// high resolution, where SUPER-CHIP 1.1 counted rows: games only check whether it is 0.
    fn draw(&mut self, x: usize, y: usize, n: u8) -> Next {
        let left = usize::from(self.v[x]) % self.screen.width();
        let top = usize::from(self.v[y]) % self.screen.height();
        let (rows, bytes) = if n == 0 { (16, 2) } else { (u16::from(n), 1) };
        let mut hit = false;
        for row in 0..rows {
            let at = self.index.wrapping_add(row * bytes);
            let mut pixels = u128::from(self.read(at)) << 120;
            if bytes == 2 {
                pixels |= u128::from(self.read(at.wrapping_add(1))) << 112;
            }
            hit |= self.screen.toggle(pixels, left, top + usize::from(row));
        }
        self.v[0xF] = u8::from(hit);
        if self.quirks.draw_waits && !self.screen.is_large() { Next::EndFrame } else { Next::Go }
    }

    /// FX0A: repeats the instruction until a key has been pressed and released.
    fn wait_for_key(&mut self, x: usize, at: u16) -> Next {
        match self.pressed {
            Some(key) if !self.is_down(key) => {
                self.pressed = None;
                self.v[x] = key;
                return Next::Go;
            }
            Some(_) => {}
            None if self.keys != 0 => self.pressed = Some(self.keys.trailing_zeros() as u8),
            None => {}
        }
        self.counter = at;
        Next::EndFrame
    }

    fn call(&mut self, address: u16, at: u16) -> Result<(), Halt> {
        if self.depth == STACK {
            return Err(Halt::StackOverflow { at });
        }
        self.stack[self.depth] = self.counter;
        self.depth += 1;
        self.counter = address;
        Ok(())
    }

    fn ret(&mut self, at: u16) -> Result<(), Halt> {
        self.depth = self.depth.checked_sub(1).ok_or(Halt::StackUnderflow { at })?;
        self.counter = self.stack[self.depth];
        Ok(())
    }

    fn skip_if(&mut self, condition: bool) {
        if condition {
            self.counter += 2;
        }
    }

    fn is_down(&self, key: u8) -> bool {
        self.keys >> (key & 0xF) & 1 == 1
    }

    fn decimal(&mut self, value: u8) {
        self.write(self.index, value / 100);
        self.write(self.index.wrapping_add(1), value / 10 % 10);
        self.write(self.index.wrapping_add(2), value % 10);
    }

    fn store(&mut self, last: usize) {
        for at in 0..=last {
            self.write(self.index.wrapping_add(at as u16), self.v[at]);
        }
        self.move_index(last);
    }

    fn load(&mut self, last: usize) {
        for at in 0..=last {
            self.v[at] = self.read(self.index.wrapping_add(at as u16));
        }
        self.move_index(last);
    }

    fn move_index(&mut self, last: usize) {
        if self.quirks.memory_moves_index {
            self.index = self.index.wrapping_add(last as u16 + 1);
        }
    }

    /// Addresses wrap around: the VIP had twelve address lines here.
    fn read(&self, address: u16) -> u8 {
        self.memory[usize::from(address) % MEMORY]
    }

    fn write(&mut self, address: u16, value: u8) {
        self.memory[usize::from(address) % MEMORY] = value;
    }
}
