//! Certificates that this process makes itself.

use super::TlsFiles;
use crate::io::BoxError;
use crate::io::private::{private_folder, write_private};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use sha2::{Digest, Sha256};
use slotkeeper_core::Time;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a self-signed certificate is valid.
const VALID: Duration = Duration::from_secs(90 * DAY.as_secs());

/// Writes a new self-signed certificate for these hosts and addresses, and its key, into the folder. Returns the files, and the
/// certificate's SHA-256 fingerprint as browsers show it.
///
/// # Errors
/// If a name cannot be in a certificate, or the files cannot be written.
pub fn self_signed(folder: &Path, names: Vec<String>, now: Time) -> Result<(TlsFiles, String), BoxError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Slotkeeper, self-signed");
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now.0);
    // The clocks of visitors may be behind.
    (params.not_before, params.not_after) = (now - DAY, now + VALID);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let files = TlsFiles { certificate: folder.join("self-signed.crt"), key: folder.join("self-signed.key") };
    private_folder(folder)?;
    write_private(&files.key, key.serialize_pem().as_bytes())?;
    write_private(&files.certificate, certificate.pem().as_bytes())?;
    let bytes: Vec<String> = Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02X}")).collect();
    Ok((files, bytes.join(":")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Clock;
    use crate::io::tls::read;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_self_signed_certificate_is_valid_now_and_only_its_user_can_read_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        let now = Clock::real().wall();
        let mut fingerprints = Vec::new();
        for _ in 0..2 {
            let (files, fingerprint) = self_signed(&own, vec!["localhost".into(), "127.0.0.1".into()], now).unwrap();
            assert_eq!(read(&files, now).unwrap().names, ["localhost"]);
            assert_eq!(files.key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fingerprint.len(), 32 * 3 - 1);
            fingerprints.push(fingerprint);
        }
        assert_ne!(fingerprints[0], fingerprints[1]);
        assert_eq!(own.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&own).unwrap().count(), 2, "nothing unfinished is left");
        assert!(self_signed(&own, vec!["\u{e9}.example".into()], now).is_err());
    }
}
