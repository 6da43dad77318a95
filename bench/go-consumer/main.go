// The consumer that a careful Go programmer writes: one http.Client for all, an idle pool larger than the concurrency,
// every answer read to its end. The bench holds Posthaste against it, so it is written to be as good as go-nsq and
// net/http allow without tricks.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/nsqio/go-nsq"
)

// More than any concurrency the bench asks for: net/http keeps two idle connections per host by default, and then
// opens one for almost every request.
const idleConnections = 1024

var (
	nsqdAddress = flag.String("nsqd-tcp-address", "127.0.0.1:4150", "nsqd to consume from")
	topic       = flag.String("topic", "", "topic to consume")
	channel     = flag.String("channel", "go-consumer", "channel to consume")
	to          = flag.String("to", "", "URL to POST to")
	caFile      = flag.String("ca-file", "", "PEM file of the authority to trust")
	concurrency = flag.Int("concurrency", 100, "requests at once")
)

type poster struct{ client *http.Client }

func (p *poster) HandleMessage(message *nsq.Message) error {
	answer, err := p.client.Post(*to, "application/octet-stream", bytes.NewReader(message.Body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}

func newClient() (*http.Client, error) {
	pem, err := os.ReadFile(*caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + *caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = idleConnections
	transport.MaxIdleConnsPerHost = idleConnections
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	// Setting TLSClientConfig switches HTTP/2 off unless it is asked for again; the comparison is over HTTP/1.1.
	transport.ForceAttemptHTTP2 = false
	return &http.Client{Transport: transport}, nil
}

func run() error {
	client, err := newClient()
	if err != nil {
		return err
	}
	config := nsq.NewConfig()
	config.MaxInFlight = *concurrency
	consumer, err := nsq.NewConsumer(*topic, *channel, config)
	if err != nil {
		return err
	}
	consumer.SetLoggerLevel(nsq.LogLevelWarning)
	consumer.AddConcurrentHandlers(&poster{client}, *concurrency)
	if err := consumer.ConnectToNSQD(*nsqdAddress); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	consumer.Stop()
	<-consumer.StopChan
	return nil
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
