"""Certificates, good and bad, of an authority that lives as long as the tests."""

import datetime as dt
import ssl as tls
from typing import Final

import trustme

_LONG_AGO: Final = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class Authority:
    """A private certificate authority: what it signed, and what it did not."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.trusting = self.trust()
        """What a client needs to trust it."""

    def trust(self) -> tls.SSLContext:
        """Return another such context."""
        context = tls.create_default_context(tls.Purpose.SERVER_AUTH)
        self._ca.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
        return context

    @staticmethod
    def _context(certificate: trustme.LeafCert) -> tls.SSLContext:
        context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
        return context

    def good(self) -> tls.SSLContext:
        """A server of 127.0.0.1."""
        return self._context(self._ca.issue_cert("127.0.0.1", "localhost"))

    def other_host(self) -> tls.SSLContext:
        """A server of another name."""
        return self._context(self._ca.issue_cert("elsewhere.example"))

    def expired(self) -> tls.SSLContext:
        """A server whose time is over."""
        return self._context(self._ca.issue_cert("127.0.0.1", not_after=_LONG_AGO))

    def unknown(self) -> tls.SSLContext:
        """A server of another authority."""
        return self._context(trustme.CA().issue_cert("127.0.0.1"))

    def self_signed(self) -> tls.SSLContext:
        """A server whose certificate is its own authority."""
        authority = trustme.CA()
        context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
        with (
            authority.private_key_pem.tempfile() as key,
            authority.cert_pem.tempfile() as certificate,
        ):
            context.load_cert_chain(certificate, key)
        return context
