// A producer and a consumer on go-nsq, by which the tests hold the embedded queue against the library that most use.
//
//	peer publish|consume|drain --address HOST:PORT --topic T [--channel C] --prefix P --count N [--ca-file F] [--compression C]
//
// `publish` sends P-0 to P-(N-1), the first half one by one and the rest at once. `consume` finishes every message and prints
// its body on a line, until it is killed.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/nsqio/go-nsq"
)

var (
	flags       = flag.NewFlagSet("peer", flag.ExitOnError)
	address     = flags.String("address", "", "nsqd's TCP address")
	topic       = flags.String("topic", "", "topic")
	channel     = flags.String("channel", "go", "channel")
	prefix      = flags.String("prefix", "go", "what bodies begin with")
	count       = flags.Int("count", 1, "messages")
	caFile      = flags.String("ca-file", "", "authority to trust; asks for TLS")
	compression = flags.String("compression", "none", "none, snappy or deflate")
)

func config() (*nsq.Config, error) {
	config := nsq.NewConfig()
	config.MaxInFlight = 50
	options := map[string]interface{}{}
	if *caFile != "" {
		options["tls_v1"] = true
		options["tls_root_ca_file"] = *caFile
	}
	if *compression != "none" {
		options[*compression] = true
	}
	for name, value := range options {
		if err := config.Set(name, value); err != nil {
			return nil, err
		}
	}
	return config, config.Validate()
}

func publish(config *nsq.Config) error {
	producer, err := nsq.NewProducer(*address, config)
	if err != nil {
		return err
	}
	producer.SetLoggerLevel(nsq.LogLevelWarning)
	defer producer.Stop()
	var batch [][]byte
	for i := 0; i < *count; i++ {
		body := []byte(fmt.Sprintf("%s-%d", *prefix, i))
		if i >= *count/2 {
			batch = append(batch, body)
		} else if err := producer.Publish(*topic, body); err != nil {
			return err
		}
	}
	return producer.MultiPublish(*topic, batch)
}

func consume(config *nsq.Config) error {
	consumer, err := nsq.NewConsumer(*topic, *channel, config)
	if err != nil {
		return err
	}
	consumer.SetLoggerLevel(nsq.LogLevelWarning)
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		fmt.Println(string(message.Body))
		return nil
	}))
	if err := consumer.ConnectToNSQD(*address); err != nil {
		return err
	}
	<-consumer.StopChan
	return nil
}

func run() error {
	if len(os.Args) < 2 {
		return fmt.Errorf("publish, consume or drain?")
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	config, err := config()
	if err != nil {
		return err
	}
	switch os.Args[1] {
	case "publish":
		return publish(config)
	case "drain":
		return drain(config)
	default:
		return consume(config)
	}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
