// Package box makes two hosts with a bad link between them on one Linux machine,
// without root. The hosts are network namespaces, so the kernel's own TCP, and
// any program, feels the link.
//
//	b, err := box.Start(ctx, box.Options{AToB: link, BToA: link})
//	defer b.Close()
//	server, err := b.Run(box.Command{Host: box.B, Path: …})
//	client, err := b.Run(box.Command{Host: box.A, Path: …})
//	status, err := client.Wait()
//	stats := b.Stats()
//
// # What is in it
//
// Host A is 10.77.0.1 and fd77::1, host B is 10.77.0.2 and fd77::2, the same in
// every box, since nothing outside can see them; nor do the hosts see anything
// but each other. The link is called eth0. Commands find the addresses in
// WHERRY_A, WHERRY_B, WHERRY_A6 and WHERRY_B6, run as root of the box (which is
// nobody but their user outside: files that they make are his), have its process
// numbers, and everything else from the system around them: files, terminals,
// time. A command on one host enters the other by [Exec].
//
// # The link
//
// A packet that a host sends is read by this process, goes through a
// [netem.Link], and is written to the other host when its time has come. There is
// one engine and one thread for each direction. The packets are IP packets, as
// long as the MTU allows and no longer, with their checksums: the kernel cuts its
// segments before they get here, so every packet has a fate of its own and a
// flipped bit is found out. Their bytes are those of IP, without Ethernet's.
//
// What hosts say by themselves (IGMP, MLD, neighbour discovery) is not put on the
// link. It would take numbers away from the packets of the experiment, and the
// same seed would not lose the same packets twice.
//
// Packets that come faster than this machine can read them wait in the device's
// queue and are dropped at its end: [Stats.Missed]. What delays an arrival beyond
// its time is in [Stats.Late].
//
// Two commands measure it on a quiet machine: the first holds ping and CUBIC to a
// link of 20 Mbit/s and 20 ms, the second shows what a machine can carry.
//
//	WHERRY_MEASURE=1 go test -count=1 -v -run TestBadLink ./lab/box
//	wherry lab link --rate 1Gbit -- sh -c 'wherry lab on b -- iperf3 -s -D; sleep 1; iperf3 -c $WHERRY_B -C cubic'
//
// # Back ends
//
// A TUN device on each host, where this user may open /dev/net/tun. Otherwise a
// veth pair for each host, the far end of which lies in a third namespace with a
// packet socket on it (packet(7)): packets come through a ring of shared memory.
// ARP is off in both, and the hosts have the same hardware address.
//
// # Processes
//
//	this process ── the box's first process (pid 1 there) ── commands
//	   │  emulator      namespaces, commands, the dead
//	   └── a Unix socket between them: requests, files, exit statuses
//
// [Start] runs this program again (/proc/self/exe with [Options.Init]) in new
// user, network, process and mount namespaces; there [Init] makes the hosts and
// passes the devices, or the packet sockets, back. The namespaces have no names
// and no files. The box's first process ends when the socket closes, and the
// kernel kills it when this process dies; and it takes all other processes of the
// box with it. So nothing stays behind, however the end comes.
//
// Real root keeps all his user numbers in the box, and gets one without a user
// namespace where the system has none.
package box
