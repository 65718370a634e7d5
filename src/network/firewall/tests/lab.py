"""Packets for tests: `serve PROTOCOL FIRST-LAST` answers each request with the address that it came from, as seen there;
`ask SECONDS PROTOCOL ADDRESS PORT [SOURCE [PORT]]` prints such an answer, or `none` when there is none in time."""
import selectors, socket, sys

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

def serve(protocol, ports):
    first, last = map(int, ports.split("-"))
    selector = selectors.DefaultSelector()
    for port in range(first, last + 1):
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            s = socket.socket(family, KINDS[protocol])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.bind((address, port))
            if protocol == "tcp":
                s.listen(16)
            selector.register(s, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            s = key.fileobj
            if protocol == "tcp":
                connection, peer = s.accept()
                connection.sendall(f"{peer[0]} {s.getsockname()[1]}".encode())
                connection.close()
            else:
                _, peer = s.recvfrom(64)
                s.sendto(f"{peer[0]} {s.getsockname()[1]}".encode(), peer)

def ask(patience, protocol, address, port, source=None, source_port=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, KINDS[protocol])
    s.settimeout(float(patience))
    try:
        if source:
            s.bind((source, int(source_port)))
        s.connect((address, int(port)))
        if protocol == "udp":
            s.send(b"?")
        print(s.recv(64).decode() or "none")
    except OSError:
        print("none")

globals()[sys.argv[1]](*sys.argv[2:])
