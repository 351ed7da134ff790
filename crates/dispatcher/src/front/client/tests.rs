use super::*;
use crate::config::Network;
use crate::io::Peer;
use proptest::prelude::*;

const PROXIES: [Network; 2] = [
    Network { address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), prefix: 8 },
    Network { address: IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0)), prefix: 8 },
];

fn hop(peer: &str, address_field: AddressField) -> Hop<'static> {
    let peer = Peer::at(format!("{peer}:1234").parse().unwrap());
    Hop { trusted_proxies: &PROXIES, address_field, ..peer.into() }
}

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// The address of a request that `10.0.0.1`, a trusted proxy, passes on with these lines of one field.
fn through(field: AddressField, lines: &[&str]) -> String {
    let name = if field == AddressField::Forwarded { "forwarded" } else { "x-forwarded-for" };
    let headers = fields(&lines.iter().map(|line| (name, *line)).collect::<Vec<_>>());
    address(&hop("10.0.0.1", field), &headers).unwrap().to_string()
}

#[test]
fn the_rightmost_address_of_x_forwarded_for_that_is_no_trusted_proxy_is_the_clients() {
    for (lines, client) in [
        (&[][..], "10.0.0.1"),
        (&["192.0.2.7"], "192.0.2.7"),
        (&["1.1.1.1, 192.0.2.7, 10.2.2.2"], "192.0.2.7"),
        (&["1.1.1.1", "192.0.2.7, 10.2.2.2", "fd00::1"], "192.0.2.7"),
        (&["192.0.2.7:4711"], "192.0.2.7"),
        (&["[2001:db8::7]:4711"], "2001:db8::7"),
        (&["2001:DB8::7"], "2001:db8::7"),
        (&["[2001:db8::7]"], "2001:db8::7"),
        (&["::ffff:192.0.2.7"], "192.0.2.7"),
        (&["::ffff:10.9.9.9, 10.2.2.2"], "10.9.9.9"),
        (&["192.0.2.7,, ,10.2.2.2,"], "192.0.2.7"),
        // All are trusted proxies: the request was made by the first of them.
        (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        // A proxy did not report an address: the nearest known one is its own.
        (&["192.0.2.7, unknown, 10.2.2.2"], "10.2.2.2"),
        (&["192.0.2.7, 1.2.3"], "10.0.0.1"),
        (&["fe80::1%eth0"], "10.0.0.1"),
        (&["[2001:db8::7]x"], "10.0.0.1"),
    ] {
        assert_eq!(through(AddressField::XForwardedFor, lines), client, "{lines:?}");
    }
}

#[test]
fn forwarded_names_the_client_and_the_scheme_and_host_of_its_request() {
    for (lines, client) in [
        (&[][..], "10.0.0.1"),
        (&["for=192.0.2.7"], "192.0.2.7"),
        (&["For=\"192.0.2.7:4711\";proto=https, for=10.2.2.2;by=10.0.0.1"], "192.0.2.7"),
        (&["for=1.1.1.1", "for=\"[2001:db8::7]:4711\"", "for=10.2.2.2"], "2001:db8::7"),
        (&["for=192.0.2.7, for=unknown"], "10.0.0.1"),
        (&["for=192.0.2.7, for=_gazonk, for=10.2.2.2"], "10.2.2.2"),
        (&["for=192.0.2.7, proto=https"], "10.0.0.1"),
        (&["for=192.0.2.7;for=1.1.1.1"], "10.0.0.1"),
        (&["for=\"1.1.1.1, for=192.0.2.7"], "192.0.2.7"),
        (&["for=\"1.1.1.1", "for=192.0.2.7"], "192.0.2.7"),
        (&["for=1.1.1.1\", for=\"192.0.2.7\""], "192.0.2.7"),
        (&["for=\"a\\\"b\", for=192.0.2.7"], "192.0.2.7"),
        (&["secret=\"a;b, c\";for=192.0.2.7"], "192.0.2.7"),
    ] {
        assert_eq!(through(AddressField::Forwarded, lines), client, "{lines:?}");
    }
    let headers = fields(&[(
        "forwarded",
        "for=1.1.1.1;proto=http;host=evil.example, for=192.0.2.7;proto=https;host=\"app.example:8443\", for=10.2.2.2",
    )]);
    let read = forwarded(&hop("10.0.0.1", AddressField::Forwarded), &headers);
    assert_eq!((read.proto, read.host), (Some("https"), Some("app.example:8443")));
    assert_eq!(forwarded(&hop("192.0.2.1", AddressField::Forwarded), &headers), Reported::default());
}

#[test]
fn only_the_configured_field_is_read_even_if_the_other_one_contradicts_it() {
    let both = fields(&[("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=198.51.100.9")]);
    let of = |field| address(&hop("10.0.0.1", field), &both).unwrap().to_string();
    assert_eq!(of(AddressField::XForwardedFor), "192.0.2.7");
    assert_eq!(of(AddressField::Forwarded), "198.51.100.9");
    let other = fields(&[("forwarded", "for=198.51.100.9")]);
    assert_eq!(address(&hop("10.0.0.1", AddressField::XForwardedFor), &other).unwrap().to_string(), "10.0.0.1");
}

#[test]
fn an_untrusted_peer_cannot_name_an_address() {
    let lies = fields(&[("x-forwarded-for", "198.51.100.9"), ("forwarded", "for=198.51.100.9")]);
    for field in [AddressField::XForwardedFor, AddressField::Forwarded] {
        assert_eq!(address(&hop("192.0.2.1", field), &lies).unwrap().to_string(), "192.0.2.1");
        let mut hidden = hop("10.0.0.1", field);
        hidden.peer.is_hidden = true;
        assert_eq!(address(&hidden, &lies), None, "a proxy that does not know its client vouches for nothing");
    }
}

proptest! {
    #[test]
    fn text_of_a_client_changes_nothing(text in "[ -~]{0,60}", is_forwarded: bool, is_same_line: bool) {
        let field = if is_forwarded { AddressField::Forwarded } else { AddressField::XForwardedFor };
        let written = if is_forwarded { "for=192.0.2.7;proto=https" } else { "192.0.2.7" };
        let line = format!("{text}, {written}");
        let lines = if is_same_line { vec![&*line] } else { vec![&*text, written] };
        prop_assert_eq!(through(field, &lines), "192.0.2.7");
    }
}
