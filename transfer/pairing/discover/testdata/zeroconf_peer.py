"""The other end of TestZeroconfPeer: python-zeroconf, an mDNS of its own making.

zeroconf_peer.py find          prints the first offer that it finds
zeroconf_peer.py offer ADDR    makes an offer as package discover does
"""
import socket
import sys

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

TYPE = "_wherry._tcp.local."


class Finder(ServiceListener):
    def add_service(self, zc, type_, name):
        info = zc.get_service_info(type_, name, 60000)  # ms; it returns as soon as all is there
        if info is not None:
            text = ",".join(f"{k.decode()}={v.decode()}" for k, v in sorted(info.properties.items()))
            print("found", name, info.server, info.port, ",".join(info.parsed_addresses(IPVersion.V4Only)), text, flush=True)

    def update_service(self, zc, type_, name):
        pass

    def remove_service(self, zc, type_, name):
        print("removed", name, flush=True)


zc = Zeroconf(ip_version=IPVersion.V4Only)
if sys.argv[1] == "find":
    ServiceBrowser(zc, TYPE, Finder())
else:
    zc.register_service(ServiceInfo(
        TYPE, "0123456789abcdef." + TYPE, port=4321, server="fedcba9876543210.local.",
        addresses=[socket.inet_aton(sys.argv[2])], properties={"v": "1", "t": "udp", "n": "42"}))
    print("ready", flush=True)
sys.stdin.read()  # until the test ends
