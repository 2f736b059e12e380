"""The client of a request is found from the last report of a proxy to the first untrusted one."""

from __future__ import annotations

import pytest

from service.access.addresses import Origination, TrustedProxies, counted_address, is_loopback

PROXIES = TrustedProxies("127.0.0.1, ::1, 10.0.0.0/8, 2001:db8:5::/48")


def _origin(*headers: tuple[str, str], peer: str = "127.0.0.1") -> Origination:
    return PROXIES.find_origin(
        peer, [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    )


def test_without_reports_the_peer_is_the_client() -> None:
    assert _origin() == Origination("127.0.0.1")
    assert _origin(peer="203.0.113.9") == Origination("203.0.113.9")


def test_the_reports_of_an_untrusted_peer_are_not_believed() -> None:
    for name in ("X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "Via", "X-Real-IP"):
        origin = _origin((name, "1.2.3.4"), peer="203.0.113.9")
        assert origin == Origination("203.0.113.9", is_direct=False)


def test_without_trusted_proxies_no_report_is_believed() -> None:
    origin = TrustedProxies("").find_origin("127.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")])
    assert origin == Origination("127.0.0.1", is_direct=False)


@pytest.mark.parametrize(
    ("reported", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 10.1.1.1, 203.0.113.9, 10.9.9.9, 10.1.2.3", "203.0.113.9"),
        ("10.1.1.1,10.2.2.2", "10.1.1.1"),
        (" , 203.0.113.9 ,, ", "203.0.113.9"),
        ("203.0.113.9:50123", "203.0.113.9"),
        ("2001:DB8::0:7", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ('"[2001:db8::7]"', "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, ::ffff:10.0.0.7", "203.0.113.9"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_first_untrusted_address_from_the_end_is_the_client(
    reported: str, address: str
) -> None:
    assert _origin(("X-Forwarded-For", reported)) == Origination(address)


@pytest.mark.parametrize(
    ("reported", "address"),
    [
        ("unknown", "127.0.0.1"),
        ("6.6.6.6, _hidden", "127.0.0.1"),
        ("6.6.6.6, garbage, 10.1.1.1", "10.1.1.1"),
        ("6.6.6.6, 203.0.113.9.9", "127.0.0.1"),
        ("6.6.6.6, 0x7f.1", "127.0.0.1"),
        ("6.6.6.6, " + "9" * 5_000, "127.0.0.1"),
        ("", "127.0.0.1"),
        (" ,,, ", "127.0.0.1"),
    ],
)
def test_a_hidden_client_has_the_address_of_its_proxy(reported: str, address: str) -> None:
    assert _origin(("X-Forwarded-For", reported)) == Origination(address, is_direct=False)


def test_several_header_lines_are_one_list() -> None:
    lines = [("X-Forwarded-For", each) for each in ("6.6.6.6", "203.0.113.9", "10.1.1.1")]
    assert _origin(*lines).address == "203.0.113.9"


def test_a_list_of_ten_thousand_entries_is_read_from_its_end() -> None:
    spoofed = ", ".join(["6.6.6.6"] * 10_000)
    assert _origin(("X-Forwarded-For", f"{spoofed}, 203.0.113.9")).address == "203.0.113.9"
    assert _origin(("X-Forwarded-For", ", ".join(["10.0.0.1"] * 10_000))).address == "10.0.0.1"


@pytest.mark.parametrize(
    ("reported", "origin"),
    [
        ("for=203.0.113.9", Origination("203.0.113.9")),
        (
            'For="[2001:db8::7]:4711";Proto=HTTPS;host=chat.example.com:8443;by=_p',
            Origination("2001:db8::7", "https", "chat.example.com:8443"),
        ),
        (
            "for=6.6.6.6;proto=http;host=evil, for=203.0.113.9;proto=https;host=a.b, for=10.0.0.1",
            Origination("203.0.113.9", "https", "a.b"),
        ),
        ("for=6.6.6.6, for=unknown;proto=https", Origination("127.0.0.1", "https", None, False)),
        ("for=6.6.6.6, for=_secret", Origination("127.0.0.1", is_direct=False)),
        ("for=6.6.6.6, proto=https", Origination("127.0.0.1", "https", None, False)),
        ('for="203.0.113.9"', Origination("203.0.113.9")),
        (r'for="203.0.\113.9"', Origination("203.0.113.9")),
        ("nonsense", Origination("127.0.0.1", is_direct=False)),
        ("for=203.0.113.9;host=a/b", Origination("203.0.113.9")),
        ("for=203.0.113.9;proto=gopher", Origination("203.0.113.9")),
    ],
)
def test_forwarded_reports_the_client_its_scheme_and_its_host(
    reported: str, origin: Origination
) -> None:
    assert _origin(("Forwarded", reported)) == origin


@pytest.mark.parametrize("own", ['for=6.6.6.6;x="', 'for="6.6.6.6', 'for=6.6.6.6;x="\\', '"'])
@pytest.mark.parametrize("appended", ["for=203.0.113.9", 'for="[2001:db8::7]";by="_p"'])
def test_an_open_quote_of_the_client_does_not_replace_its_address(own: str, appended: str) -> None:
    assert _origin(("Forwarded", f"{own}, {appended}")).address != "6.6.6.6"


def test_x_forwarded_for_has_precedence_because_most_proxies_write_only_it() -> None:
    origin = _origin(("Forwarded", "for=6.6.6.6;proto=https"), ("X-Forwarded-For", "203.0.113.9"))
    assert origin == Origination("203.0.113.9")


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("wss", "https"),
        ("http", "http"), ("javascript", None), ("", None),
    ],
)  # fmt: skip
def test_the_nearest_proxy_reports_the_scheme(proto: str, scheme: str | None) -> None:
    assert _origin(("X-Forwarded-Proto", proto)).scheme == scheme


@pytest.mark.parametrize(
    ("reported", "host"),
    [
        ("chat.example.com", "chat.example.com"),
        ("[2001:db8::7]:8443", "[2001:db8::7]:8443"),
        ("evil.example, chat.example.com", "chat.example.com"),
        ("a b", None), ("a/b", None), ("user@a", None), ("", None), ("a:port", None),
    ],
)  # fmt: skip
def test_the_nearest_proxy_reports_the_host(reported: str, host: str | None) -> None:
    assert _origin(("X-Forwarded-Host", reported)).host == host


def test_a_peer_may_be_an_ipv4_address_in_ipv6() -> None:
    origin = _origin(("X-Forwarded-For", "203.0.113.9"), peer="::ffff:10.0.0.1")
    assert origin == Origination("203.0.113.9")
    assert _origin(peer="::ffff:203.0.113.9") == Origination("203.0.113.9")


def test_a_connection_without_an_address_is_not_trusted() -> None:
    assert _origin(("X-Forwarded-For", "1.2.3.4"), peer="") == Origination("", is_direct=False)


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "proxy", "10.0.0.0/33", "10.0.0.1 10.0.0.2"])
def test_a_malformed_network_is_refused(networks: str) -> None:
    with pytest.raises(ValueError, match=networks.split()[0].split("/")[0]):
        TrustedProxies(networks)


def test_ipv6_addresses_of_one_site_are_counted_together() -> None:
    assert counted_address("2001:db8:1:2:3::4") == counted_address("2001:db8:1:2:ffff::1")
    assert counted_address("2001:db8:1:2::1") != counted_address("2001:db8:1:3::1")
    assert counted_address("::ffff:203.0.113.9") == counted_address("203.0.113.9")
    assert counted_address("") == ""


def test_loopback_addresses_are_recognized() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["10.0.0.1", "203.0.113.9", "", "localhost"]))
