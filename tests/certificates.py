"""Certificates for tests, made by openssl."""

import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def certificate(folder, name, authority=None):
    """A key and a certificate for 127.0.0.1, signed by the authority, else an authority's own."""
    key, request, made = (folder / f"{name}{suffix}" for suffix in ("-key.pem", ".csr", ".pem"))
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)
    if authority is None:
        openssl(*new, "-x509", "-days", "2", "-subj", f"/CN={name}", "-out", made)
        return
    openssl(*new, "-subj", f"/CN={name}", "-out", request)
    names = folder / "names.txt"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    signer = ("-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}-key.pem", "-CAcreateserial")
    openssl("x509", "-req", "-in", request, *signer, "-days", "2", "-extfile", names, "-out", made)
