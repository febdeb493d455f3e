// Package web shares a directory with whoever has a browser, curl or wget.
//
// A [Server] is an http.Handler over an [os.Root]: nothing outside the directory
// can be named, whatever a request or a symbolic link says.
//
//	root, _ := os.OpenRoot("holiday")
//	s := &web.Server{Root: root, Token: web.NewToken()}
//	cert, _ := web.NewCertificate(time.Now(), nil)
//	err := s.Serve(ctx, listener, &cert)
//
// # What is at which address
//
// All addresses begin with the token, which is the whole of the access control:
// 128 random bits that only the printed URL carries. Anything else is "404 not
// found", so that a stranger cannot tell a wrong token from a missing file.
//
//	GET  /TOKEN/dir/            the directory, as a page or as JSON (by Accept, or ?as=json)
//	GET  /TOKEN/dir/?as=tar     the tree below it, streamed; also ?as=zip
//	GET  /TOKEN/dir/file        the file; Range, If-Range, If-None-Match, If-Modified-Since
//	HEAD                        the same without the body
//	PUT  /TOKEN/dir/file        stores the body (with Server.Upload)
//	POST /TOKEN/dir/            stores the files of a multipart/form-data form (with Server.Upload)
//
// A file's ETag is made of its size and modification time, as nginx and Apache
// make theirs. An archive is made while it is sent; it has neither length nor
// ETag, and one that cannot be finished is cut off without its last chunk, so that
// no client takes it for whole. Of symbolic links an archive holds those of
// tar whose target is relative; devices, sockets and FIFOs are in no listing.
//
// # Uploads
//
// A file is written under a name that says that it is unfinished, synced, and
// only then given its own name. An existing file is never replaced (409), unless
// a PUT names its present ETag in If-Match (RFC 9110, section 13.1.1). The answer
// is JSON with size and BLAKE3 of what is on disk, or for a form sent by a browser
// the directory's page again. A body that is shorter than announced leaves
// nothing; Content-Range is refused (RFC 9110, section 14.5).
//
// # Limits
//
// Header 16 KiB within 10 s; an idle connection 2 minutes; a body or a reader that
// makes no progress for [DefaultStall]; [DefaultMaxConns] connections;
// [maxListed] entries on one page; [maxFormFiles] files a form.
//
// Pages carry a content security policy without scripts, and a served file that
// a browser might run is sandboxed: what one visitor uploads cannot act in
// the name of another.
package web
