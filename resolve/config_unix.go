//go:build !windows && !darwin

package resolve

// SystemConfig reads how this system looks names up, from /etc/resolv.conf.
func SystemConfig() (*Config, error) { return ResolvConf("/etc/resolv.conf") }

// HostsFile returns the path of the system's hosts file.
func HostsFile() string { return "/etc/hosts" }
