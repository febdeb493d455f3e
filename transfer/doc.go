// Package transfer sends and receives files and trees over any [net.Conn].
//
// One end calls [Send] with a [Source], the other [Receive] with a directory; who
// dialed and who listened does not matter, nor whether the connection is TCP,
// reliable UDP or a paired and encrypted one (package transfer/pairing).
//
//	src, err := transfer.NewSource([]string{"photos", "notes.txt"}, transfer.SourceOptions{})
//	result, err := transfer.Send(ctx, conn, src, transfer.SendOptions{})
//
//	dir, err := os.OpenRoot("inbox")
//	result, err := transfer.Receive(ctx, conn, transfer.ReceiveOptions{Dir: dir})
//
// Send returns without error only when the receiver has reported every file to
// be on its disk, under its final name, with the BLAKE3 digest that the sender
// computed while it read the file.
//
// # What is copied
//
// Files with their content, permission bits and modification times; directories,
// empty ones too; symbolic links that stay inside their own tree. Names are
// copied byte for byte. Setuid, setgid and sticky bits, owners, extended
// attributes and hard links are not. Devices, sockets, FIFOs and links that lead
// out of their tree are left out, with a warning that counts. A directory given
// as "a/b" arrives as "b".
//
// # What a receiver refuses
//
// The whole transfer, with an [*EntryError] that names the entry, if the manifest
// holds: an absolute path; a "..", a "." or an empty name; a zero byte; a name over
// 255 or a path over 4096 bytes; a name twice (also when names differ only in
// case, where the file system does not tell); an entry whose directory is not
// listed before it, or that lies below a link or a file; a link whose target is
// absolute, leaves the tree, or has a ".." behind a name; mode bits beyond 0777;
// the names in which unfinished files are kept; and on Windows its device names
// and characters. Content that was not asked for, or more of it than was listed,
// ends the transfer.
//
// # Landing
//
// Everything goes through an [os.Root]. A file is collected as NAME.wherry-part
// beside its final name, and then verified, flushed, given its mode and time and
// renamed; flushing is done for many files together, and a receipt follows it.
// Links are made when all files are in place, and directories get their modes and
// times last. A final name never holds an unfinished file.
//
// For files of 4 MiB and more a journal, NAME.wherry-journal, notes which groups
// of the file are on disk. When a transfer breaks off the two stay, and the next
// one of the same name continues: each group that the journal claims is read and
// hashed again, the sender compares the hashes with its own file, and only groups
// that differ or are missing are sent. So a source that has changed meanwhile is
// noticed, and a journal that lies costs a few reads.
//
// # Sparse files
//
// They stay sparse. On Linux, macOS and FreeBSD the sender asks the system for a
// file's holes (lseek with SEEK_DATA) and does not read them; elsewhere it takes
// groups of zeros for holes. A hole is told by its offset and length, and counts as
// sent (but not in [Result].Moved). The receiver writes nothing there, and of a file
// that was announced as sparse no 4 KiB of zeros anywhere; where an earlier run or
// another file has left bytes it punches a hole (Linux) or writes zeros. The check
// for free space counts what the sender's disk holds. Journals do not note holes:
// they are told again, which costs next to nothing.
//
// A digest is that of the whole file as everybody computes it (b3sum), so that both
// ends hash the zeros too. Their chaining values depend on where they stand and
// cannot be looked up; holes are hashed from one page of memory by all processors,
// and that is the time that a sparse file takes: 100 GiB at what BLAKE3 does here.
//
// Files that are there already with the same size are compared by digest and not
// sent if they are equal; what happens to others is [Overwrite]'s choice.
//
// # Content that is sent once
//
// With [SendOptions].Datagrams and [ReceiveOptions].Datagrams content goes as
// datagrams beside the connection, each at most once, and is written where it
// belongs as it comes; what must not be lost (the list, decisions, digests,
// receipts) stays on the stream. A file's end follows its last datagram. When it
// has come, and no datagram waits, and none has come for half a second, what is
// missing is missing: Trace.Missing tells the ranges. Of a file that is whole the
// content is read back and its digest compared, as of any other.
//
// A file with holes stays where it was collected, as NAME.wherry-part, and both
// ends return a [*MissingError]. Of one of 4 MiB and more the journal notes the
// groups that are whole, so that a later transfer, by datagrams or not, brings
// only the others; a smaller one is sent anew. With AllowMissing it gets its name,
// mode and time, zeros stand in the holes, and that is no error.
//
// A lost connection ends such a transfer. Files of unknown size cannot be sent so.
//
// # The protocol
//
// Both ends speak at once, so the opening costs one round trip; and the sender that
// dialed sends a short manifest along without waiting for the answer:
//
//	"WHERRY/1" 'H'          then frames
//	"WHERRY/1" 'E' reason   this end cannot talk to that one; the end.
//	                        reason 1: it expects a code (TLS); 2: it is plain;
//	                        3: it was told TCP, not UDP; 4: UDP, not TCP
//
// A frame is a type (1 byte), the payload's length (4 bytes, big-endian) and the
// payload. Only data and packed frames may be longer than 64 KiB. In payloads, v is a number
// as in encoding/binary's Uvarint, z one as in Varint, b a v and that many bytes.
//
//	 1 hello          min, max version (1 byte each), role (1 byte: 1 sender, 2 receiver),
//	                  features (8 bytes), session (16 bytes); then, unless it is older, streams
//	                  (1 byte), token (16 bytes); later versions may add fields
//	 2 manifest       entries: kind (1 byte: 1 file, 2 directory, 3 link, 4 sparse
//	                  file), v mode, z seconds and v nanoseconds of the modification
//	                  time, v size+1 (0: unknown, or not a file), of a sparse file v
//	                  bytes that its disk does not hold, b path, b link target
//	 3 manifest end   v entries, v bytes, v entries left out
//	 4 decisions      records: verb (1 byte), v first entry, and
//	                  1 send, 2 skip, 3 compare:  v how many entries
//	                  4 have:  v first group, v count, count × 32 bytes of chaining values
//	 5 decisions end
//	 6 data           entry (4 bytes), offset (8 bytes), content: one hash group
//	 7 end            v entry, status (1 byte), v size, v bytes sent, then 32 bytes of
//	                  digest (status 0; 2: only the digest was asked for) or b why (1: failed)
//	 8 receipts       records: v entry, status (1 byte: 0 done, 2 had it, 3 digests differ:
//	                  32 bytes of digest; 1 failed, 4 refused, 5 has holes: b why)
//	 9 finish         the sender has sent all that was asked for; on the first connection
//	                  how many streams there were (1 byte), and text: what limited it,
//	                  at most 64 bytes, if both set feature bit 4 (value 16); empty if
//	                  there is nothing to tell
//	10 done           the receiver has finished; text: what limited the transfer, if
//	                  both set bit 4
//	11 error          code (1 byte), text: the end of the transfer
//	12 ping           nothing; sent when nothing else was for a quarter of the timeout
//	13 packed         as data, with the content's length (4 bytes) after the offset
//	                  and then the content as one zstd frame (RFC 8878) that tells the
//	                  same length; sent if both ends set feature bit 2 (value 4)
//	14 hole           entry (4 bytes), offset (8 bytes), length (8 bytes): zeros, from
//	                  the beginning of a hash group to the end of one or of the file,
//	                  at most 64 MiB; this and kind 4 if both set bit 3 (value 8)
//	15 datagrams      v how many were sent (before finish) or came (before done); an end
//	                  that sets feature bit 6 (value 64) talks only to one that does too
//
// A datagram of content is entry (4 bytes), offset (8 bytes), content; package
// pairing seals it.
//
// The sender streams its manifest; the receiver decides on entries as they come,
// or on all of them after a person has accepted ([ReceiveOptions].Accept). Content
// follows decisions without further round trips. Data frames name entry and
// offset, so they may come in any order; an end says how many bytes of its file
// were sent, so it may overtake them.
//
//	sender                                   receiver
//	  hello ────────────────▶ ◀──────────────── hello
//	  manifest … manifest end ───────────────▶
//	                        ◀─── decisions … decisions end
//	  data, end … finish ────────────────────▶  hash, write, flush, rename
//	                        ◀──────── receipts … done
//
// A lost connection does not end a transfer if there can be another
// ([SendOptions].Redial, Sessions): that one runs the protocol from its beginning.
// A sender keeps its session's number; a receiver that comes again tells it. To a
// file that it has finished on an earlier connection, the receiver answers with
// "compare", and the sender with the digest that it knows; what of an unfinished
// file has landed is told with "have".
//
// # Streams
//
// Content may go over several connections ([SendOptions].Streams). A hello ends
// with how many this end wants (1 byte; 0: as the other does) and a token (16
// bytes), which the end that listens makes for each connection; the smaller number
// counts. The end that dialed opens the others as soon as at least 8 MiB have been
// asked for. They are protected as the first one is, which vouches for them
// (package pairing, "Joining"); their hello has feature bit 5 (value 32), the
// transfer's session and the token of the first connection, and a listening end
// that knows no such transfer, or as many as were agreed on, refuses it. On such a
// stream the sender sends data, packed, hole and end frames and then finish, and the
// receiver nothing; both send pings. The first connection's finish tells how many streams
// were used, and the receiver waits for the finish of each.
//
//	dialing end                              listening end
//	  hello ────────────────▶ ◀──────────────── hello, token
//	  … manifest, decisions …
//	  hello, session, token ─▶ ◀─────────────── hello              (each stream)
//	sender                                   receiver
//	  data, end … finish ────────────────────▶                     (each stream)
//	  data, end … finish, streams ───────────▶
//	                        ◀──────── receipts … done
//
// Digests are BLAKE3; the groups are those of package treehash.
//
// # Limits
//
// Checked before memory is taken: 64 KiB a control frame, 1 MiB of content a data
// frame, 4,194,304 entries, 1 KiB of error text, 8 streams. An end that has been silent for
// the timeout (12 s) is given up; a living one sends pings.
package transfer
