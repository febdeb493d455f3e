// Wherry moves files between machines, asks for names, and shows what the
// network did to both.
package main

func main() {}
