// Command gocaller calls Python tasks through generated code. It needs only the standard library. A program that uses
// Machinery would generate its stubs with --machinery v2, and send their signatures with server.SendTask.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/gocaller/pytasks"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	redis, err := dial(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	width := uint16(4)
	resize, err := pytasks.Resize(pytasks.ResizeArgs{Image: []byte("<picture>"), Width: &width})
	if err != nil {
		return err
	}
	state, err := redis.call(resize)
	if err != nil {
		return err
	}
	image, format, err := pytasks.ReadResize(state.Results)
	if err != nil {
		return err
	}
	fmt.Printf("resize: %s as %s\n", image, format)

	total, err := pytasks.ShopTotal(pytasks.ShopTotalArgs{Prices: []uint64{1 << 63, 5}})
	if err != nil {
		return err
	}
	if state, err = redis.call(total); err != nil {
		return err
	}
	sum, err := pytasks.ReadShopTotal(state.Results)
	if err != nil {
		return err
	}
	fmt.Printf("total: %d\n", sum)

	tags, err := pytasks.Tags(pytasks.TagsArgs{Of: "a red <car>", Known: map[string]int{"red": 2, "blue": 1, "<car>": 1}})
	if err != nil {
		return err
	}
	if state, err = redis.call(tags); err != nil {
		return err
	}
	names, err := pytasks.ReadTags(state.Results)
	if err != nil {
		return err
	}
	fmt.Printf("tags: %s\n", names)

	echo, err := pytasks.Echo(pytasks.EchoArgs{Value: []float32{1.5, 0.1}})
	if err != nil {
		return err
	}
	if state, err = redis.call(echo); err != nil {
		return err
	}
	fmt.Printf("echo: %s %s\n", state.Results[0].Type, state.Results[0].Value)

	ping, err := pytasks.Ping()
	if err != nil {
		return err
	}
	if state, err = redis.call(ping); err != nil {
		return err
	}
	return pytasks.ReadPing(state.Results)
}

// client speaks the part of Redis' protocol that this program needs.
type client struct {
	conn  net.Conn
	reply *bufio.Reader
}

func dial(address string) (*client, error) {
	if address == "" {
		address = "redis://localhost:6379/0"
	}
	where, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", where.Host)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReader(conn)}
	_, err = c.do("SELECT", strings.Trim(where.Path, "/"))
	return c, err
}

// call sends a message and waits for its result, as Machinery's server and AsyncResult do.
func (c *client) call(signature *pytasks.Signature) (*pytasks.TaskState, error) {
	message, err := signature.Message("python_tasks")
	if err != nil {
		return nil, err
	}
	created := time.Now().UTC().Format(time.RFC3339Nano)
	pending := fmt.Sprintf(
		`{"TaskUUID":%q,"TaskName":%q,"State":"PENDING","Results":null,"Error":"","CreatedAt":%q,"TTL":0}`,
		signature.UUID, signature.Name, created,
	)
	if _, err := c.do("SET", signature.UUID, pending, "EX", "3600"); err != nil {
		return nil, err
	}
	if _, err := c.do("RPUSH", signature.RoutingKey, string(message)); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		stored, err := c.do("GET", signature.UUID)
		if err != nil {
			return nil, err
		}
		state, err := pytasks.ReadState([]byte(stored))
		if err != nil {
			return nil, err
		}
		switch state.State {
		case "SUCCESS":
			return state, nil
		case "FAILURE":
			return nil, fmt.Errorf("%s failed: %s", signature.Name, state.Error)
		}
	}
	return nil, fmt.Errorf("%s has no result after 30 s", signature.Name)
}

func (c *client) do(words ...string) (string, error) {
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(c.conn, command); err != nil {
		return "", err
	}
	line, err := c.reply.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch line[0] {
	case '-':
		return "", fmt.Errorf("redis: %s", line[1:])
	case '$':
		length, err := strconv.Atoi(line[1:])
		if err != nil || length < 0 {
			return "", err
		}
		body := make([]byte, length+2)
		_, err = io.ReadFull(c.reply, body)
		return string(body[:length]), err
	}
	return line[1:], nil
}
