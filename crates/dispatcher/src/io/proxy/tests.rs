use super::*;
use proptest::prelude::*;

/// Reads a header; also returns the bytes after it.
fn parse(bytes: &[u8]) -> (Result<Stated, HeaderError>, &[u8]) {
    let mut rest = bytes;
    let read = futures_util::FutureExt::now_or_never(read(&mut rest)).expect("a slice is always ready");
    (read, rest)
}

fn addresses(source: &str, destination: &str) -> Stated {
    Stated::Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, rest, b"GET"].concat()
}

#[test]
fn a_line_of_version_1_states_addresses_or_that_they_are_unknown() {
    for (line, stated) in [
        ("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", addresses("192.0.2.7:56324", "10.0.0.1:443")),
        ("PROXY TCP6 2001:db8::7 fd00::1 1 65535\r\n", addresses("[2001:db8::7]:1", "[fd00::1]:65535")),
        ("PROXY UNKNOWN\r\n", Stated::Unknown),
        ("PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n", Stated::Unknown),
    ] {
        let text = format!("{line}GET / HTTP/1.1\r\n");
        let (read, rest) = parse(text.as_bytes());
        assert_eq!(read.unwrap(), stated, "{line}");
        assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{line}");
    }
    for wrong in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 2001:db8::7 fd00::1 1 2\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY UNKNOWNX\r\n",
        &format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)),
    ] {
        assert!(matches!(parse(wrong.as_bytes()).0, Err(HeaderError::Malformed(_))), "{wrong:?}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_V1 - 16));
    assert_eq!((longest.len(), parse(longest.as_bytes()).0.unwrap()), (107, Stated::Unknown));
    assert!(matches!(parse(b"PROXY TCP4 1.2.3.4").0, Err(HeaderError::Closed(_))));
}

#[test]
fn a_header_of_version_2_states_addresses_and_its_additional_fields_are_ignored() {
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb];
    let with_fields = [&v4[..], &[0x04, 0, 2, 9, 9, 0xEE, 0xFF, 0xFF]].concat();
    for (command, family, rest, stated) in [
        (0x21, 0x11, &v4[..], addresses("192.0.2.7:56324", "10.0.0.1:443")),
        (0x21, 0x11, &with_fields, addresses("192.0.2.7:56324", "10.0.0.1:443")),
        (0x20, 0x00, b"", Stated::Local),
        (0x20, 0x11, &v4, Stated::Local),
        (0x20, 0xff, b"anything", Stated::Local),
        (0x21, 0x00, b"", Stated::Unknown),
        (0x21, 0x00, b"anything", Stated::Unknown),
        (0x21, 0x31, &[0; 216], Stated::Unknown),
    ] {
        let bytes = binary(command, family, rest);
        let (read, after) = parse(&bytes);
        assert_eq!(read.unwrap(), stated, "{command:x} {family:x}");
        assert_eq!(after, b"GET", "{command:x} {family:x}");
    }
    for (command, family, rest) in [
        (0x21, 0x11, &v4[..11]),
        (0x21, 0x12, &v4),
        (0x21, 0x21, &v4),
        (0x22, 0x11, &v4),
        (0x11, 0x11, &v4),
        (0x21, 0x41, &v4),
    ] {
        let bytes = binary(command, family, rest);
        assert!(matches!(parse(&bytes).0, Err(HeaderError::Malformed(_))), "{command:x} {family:x}");
    }
    let long = binary(0x21, 0x11, &[0; LONGEST_V2 + 1]);
    assert!(matches!(parse(&long).0, Err(HeaderError::Malformed(_))));
}

#[test]
fn what_is_written_to_a_pod_can_be_read_again() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for (source, destination, stated) in [
            ("192.0.2.7:1", "10.0.0.1:443", addresses("192.0.2.7:1", "10.0.0.1:443")),
            ("[::ffff:192.0.2.7]:1", "10.0.0.1:443", addresses("192.0.2.7:1", "10.0.0.1:443")),
            ("[2001:db8::7]:1", "[fd00::1]:443", addresses("[2001:db8::7]:1", "[fd00::1]:443")),
            ("192.0.2.7:1", "[fd00::1]:443", addresses("[::ffff:192.0.2.7]:1", "[fd00::1]:443")),
        ] {
            let bytes = header(version, addresses(source, destination));
            assert_eq!(parse(&bytes).0.unwrap(), stated, "{version:?} {source}");
        }
    }
    for stated in [Stated::Local, Stated::Unknown] {
        assert_eq!(parse(&header(ProxyVersion::V2, stated)).0.unwrap(), stated);
        assert_eq!(header(ProxyVersion::V1, stated), b"PROXY UNKNOWN\r\n");
    }
}

proptest! {
    #[test]
    fn no_input_panics_and_no_byte_after_the_header_is_read(start in 0..4usize, middle: Vec<u8>, end: Vec<u8>) {
        let starts: [&[u8]; 4] = [b"", b"PROXY ", b"PROXY TCP4 ", &[&SIGNATURE[..], &[0x21, 0x11, 0, 12]].concat()];
        let bytes = [starts[start], &middle].concat();
        let alone = parse(&bytes);
        let longer = [&bytes[..], &end].concat();
        if let (Ok(stated), rest) = alone {
            let (again, after) = parse(&longer);
            prop_assert_eq!(again.unwrap(), stated);
            prop_assert_eq!(after.len(), rest.len() + end.len());
        }
    }

    #[test]
    fn every_pair_of_addresses_passes_both_versions(source: [u8; 16], destination: [u8; 16], ports: (u16, u16), is_v4: bool) {
        let ip = |bytes: [u8; 16]| match is_v4 {
            true => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            false => IpAddr::from(bytes).to_canonical(),
        };
        let (source, destination) = (SocketAddr::new(ip(source), ports.0), SocketAddr::new(ip(destination), ports.1));
        prop_assume!(source.is_ipv4() == destination.is_ipv4());
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let bytes = header(version, Stated::Addresses { source, destination });
            prop_assert_eq!(parse(&bytes).0.unwrap(), Stated::Addresses { source, destination });
        }
    }
}
