package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"amqp://broker", "[broker:5672] false guest  /"},
		{"amqp://broker/", "[broker:5672] false guest  /"},
		{"amqps://broker", "[broker:5671] true guest  /"},
		{"amqp://a,b:99,[::1]/v", "[a:5672 b:99 [::1]:5672] false guest  v"},
		{"amqp://u:p%40ss@broker/%2f", "[broker:5672] false u p@ss /"},
		{"amqp://u@broker", "[broker:5672] false u  /"},
		{"http://broker", ""}, {"broker", ""}, {"amqp://", ""}, {"amqp:///v", ""}, {"amqp://a,", ""},
		{"amqp://:p@a", ""}, {"amqp://u:%zz@a", ""}, {"amqp://a:0x/", ""}, {"amqp://a/%zz", ""}, {"amqp://a/v?x=1", ""},
	} {
		u, err := Parse(c.url)
		if c.want == "" {
			if !errors.Is(err, ErrURL) {
				t.Errorf("%s: %+v, %v", c.url, u, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if got := fmt.Sprint(u.Hosts, " ", u.TLS, " ", u.User, " ", u.Password, " ", u.VHost); got != c.want {
			t.Errorf("%s: %s, want %s", c.url, got, c.want)
		}
		if u.Password != "" && strings.Contains(u.String(), u.Password) {
			t.Errorf("%s shows the password", u)
		}
	}
}
