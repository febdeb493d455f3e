// Package brokertest runs a real RabbitMQ for tests, on loopback, with all of its
// files in the test's directory.
package brokertest
