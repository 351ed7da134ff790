//! Session tickets (RFC 8446 §4.6.1, RFC 5077) with keys from a file, so that a client resumes its session at any process that
//! reads the same file. Every ticket is encrypted with a key of its own, which is derived from the file's key and a random
//! salt (HKDF, RFC 5869): so one key of the file may encrypt any number of tickets.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use std::fmt;
use tokio_rustls::rustls::server::ProducesTickets;

/// How long clients keep a ticket.
const LIFETIME_SECONDS: u32 = 12 * 3600;
const NAME: usize = 16;
const SALT: usize = 32;
/// Tickets of clients with a long certificate chain would be longer, but these get none.
const LONGEST: usize = 8 * 1024;

/// Encrypts with the first key, and decrypts with any.
pub(super) struct SharedTickets {
    keys: Vec<Shared>,
    random: SystemRandom,
}

struct Shared {
    /// Identifies the key in a ticket.
    name: [u8; NAME],
    secret: Vec<u8>,
}

impl SharedTickets {
    pub(super) fn new(keys: Vec<Vec<u8>>) -> SharedTickets {
        let named = |secret: Vec<u8>| {
            let digest = Sha256::new().chain_update("slotkeeper ticket key name").chain_update(&secret).finalize();
            let mut name = [0; NAME];
            name.copy_from_slice(&digest[..NAME]);
            Shared { name, secret }
        };
        SharedTickets { keys: keys.into_iter().map(named).collect(), random: SystemRandom::new() }
    }
}

impl Shared {
    fn key(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let derived = Salt::new(HKDF_SHA256, salt).extract(&self.secret);
        let derived = derived.expand(&[b"slotkeeper session ticket"], &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

/// The only one of its key.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        !self.keys.is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let shared = self.keys.first()?;
        let mut salt = [0; SALT];
        self.random.fill(&mut salt).ok()?;
        let mut sealed = plain.to_vec();
        shared.key(&salt)?.seal_in_place_append_tag(nonce(), Aad::from(shared.name), &mut sealed).ok()?;
        let ticket = [&shared.name[..], &salt, &sealed].concat();
        (ticket.len() <= LONGEST).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (salt, sealed) = rest.split_at_checked(SALT)?;
        let shared = self.keys.iter().find(|key| key.name == name)?;
        let mut plain = sealed.to_vec();
        let length = shared.key(salt)?.open_in_place(nonce(), Aad::from(shared.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedTickets({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_encrypts_any_decrypts_and_nothing_else_is_accepted() {
        let [old, new, other] = [1, 2, 3].map(|n| vec![n; 32]);
        let before = SharedTickets::new(vec![old.clone()]);
        let during = SharedTickets::new(vec![new.clone(), old]);
        let after = SharedTickets::new(vec![new]);
        let plain = b"state of a session";
        let ticket = before.encrypt(plain).unwrap();
        assert_ne!(ticket, before.encrypt(plain).unwrap(), "each has its own salt");
        assert!(!ticket.windows(5).any(|bytes| bytes == b"state"));
        assert_eq!(during.decrypt(&ticket).as_deref(), Some(&plain[..]));
        assert_eq!(after.decrypt(&ticket), None);
        let ticket = during.encrypt(plain).unwrap();
        assert_eq!(after.decrypt(&ticket).as_deref(), Some(&plain[..]), "encrypted with the first key");
        assert_eq!(before.decrypt(&ticket), None);
        assert_eq!(SharedTickets::new(vec![other]).decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!(after.decrypt(&forged), None, "byte {at}");
            assert_eq!(after.decrypt(&ticket[..at]), None, "{at} bytes");
        }
        assert_eq!(after.encrypt(&[0; LONGEST]), None);
        assert_eq!(after.decrypt(&[0; LONGEST + 1]), None);
        assert!(!SharedTickets::new(Vec::new()).enabled());
        let shown = format!("{during:?}");
        assert_eq!(shown, "SharedTickets(2 keys)");
    }
}
