// Which microphone and loudspeaker a conversation uses, as they are chosen, come and go.

/**
 * @import { LiveConversation } from "./conversation.js"
 * @import { Microphone } from "./microphone.js"
 * @import { Texts } from "./notes.js"
 * @import { Notices } from "./notices.js"
 * @import { Problem } from "./protocol.js"
 * @import { DeviceKind, FoundDevices } from "./sound_panel.js"
 */

import { SoundPanel } from "./sound_panel.js";

export class Devices {
  missing = false; // there was no microphone to be had

  /**
   * @param {object} options
   * @param {() => LiveConversation | null} options.current the conversation that runs
   * @param {Notices} options.notices
   * @param {Texts} options.texts
   */
  constructor({ current, notices, texts }) {
    this.current = current;
    this.notices = notices;
    this.texts = texts;
    this.panel = new SoundPanel({
      onChoice: (kind, id) => this.#choose(kind, id),
      onChange: (devices) => this.#changed(devices),
    });
  }

  get chosen() {
    return this.panel.devices;
  }

  /**
   * The conversation got a microphone, or none because of `problem`.
   * @param {Microphone | null} microphone
   * @param {Problem | null} problem
   */
  microphone(microphone, problem) {
    this.missing = !microphone && problem?.code !== "microphone_NotAllowedError";
    this.panel.refresh();
  }

  findMicrophone() {
    this.current()?.findMicrophone();
  }

  /** When a device may be there again: a phone call is over. */
  retry() {
    if (this.missing) this.findMicrophone();
  }

  /** Shows the choice. */
  choose() {
    this.panel.open();
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} id
   */
  async #choose(kind, id) {
    const conversation = this.current();
    if (!conversation) return;
    if (kind === "microphone") {
      await conversation.setMicrophone(id);
      return;
    }
    try {
      await conversation.setLoudspeaker(id);
    } catch {
      this.panel.choose("loudspeaker", conversation.devices.loudspeaker);
      this.#notify(this.texts.loudspeakerFailed);
    }
  }

  /**
   * A lost microphone is an event of its own; a lost loudspeaker is not.
   * @param {FoundDevices} devices
   */
  #changed({ microphone, loudspeaker, named }) {
    const conversation = this.current();
    if (!conversation) return;
    if (this.missing && microphone.length) this.findMicrophone();
    const used = conversation.devices.loudspeaker;
    if (!named || !used || loudspeaker.includes(used)) return;
    conversation.setLoudspeaker("").catch(() => {});
    this.#notify(this.texts.loudspeakerLost);
  }

  /** @param {string} text */
  #notify(text) {
    this.notices.show({ code: "loudspeaker", text, brief: true });
  }
}
